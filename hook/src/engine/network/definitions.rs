//! The files that define networks. One is read when a container names its network; all of them only when a range is to
//! be chosen, and by commands that show them.
//!
//! They are written under one lock of the host, whole, and renamed: a reader needs no lock.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::decide::pool::{self, Taken};
use crate::engine::Result;
use crate::input::config::Config;
use crate::input::network_file::{self, Definition};
use crate::kernel::{self, Lock, LockFile, Place};
use crate::model::{Families, Invalid, NetworkName};

/// Where the definitions are.
#[derive(Debug, Clone)]
pub struct Definitions {
    /// Those that outlive a boot: `/etc/ocinet/networks`.
    lasting: PathBuf,
    /// Those that do not: `/run/ocinet/networks`. One of the same name that lasts goes first.
    passing: PathBuf,
    state_dir: PathBuf,
}

/// How long a definition stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    /// Until it is removed.
    Lasting,
    /// Until the host restarts.
    ThisBoot,
}

/// The right to change definitions.
pub struct Changing<'d> {
    definitions: &'d Definitions,
    _lock: Lock,
}

impl Definitions {
    /// Those of the host with this configuration and state directory.
    pub fn of(config: &Config, state_dir: &Path) -> Self {
        Self {
            lasting: config.directory.join("networks"),
            passing: state_dir.join("networks"),
            state_dir: state_dir.to_owned(),
        }
    }

    /// The definition of `name`; none where there is no file.
    ///
    /// # Errors
    /// When the file cannot be read, or says what it may not.
    pub fn read(&self, name: &NetworkName) -> Result<Option<Definition>> {
        for directory in [&self.lasting, &self.passing] {
            if let Some((_, definition)) = read(directory, name.as_str())? {
                return Ok(Some(definition));
            }
        }
        Ok(None)
    }

    /// Whether `name` has a file, whatever is in it.
    ///
    /// # Errors
    /// When it cannot be seen.
    pub fn exists(&self, name: &NetworkName) -> Result<bool> {
        let file = format!("{name}.toml");
        for directory in [&self.lasting, &self.passing] {
            if kernel::names_in(directory)?.contains(&file) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// All of them by name, each as it is or what is wrong with it.
    ///
    /// # Errors
    /// When a folder cannot be read.
    pub fn all(&self) -> Result<BTreeMap<String, Result<Definition>>> {
        let mut all = BTreeMap::new();
        for directory in [&self.lasting, &self.passing] {
            for name in names(directory)? {
                if all.contains_key(&name) {
                    continue;
                }
                match read(directory, &name) {
                    // It was removed meanwhile.
                    Ok(None) => {}
                    found => {
                        all.insert(name, found.map(|found| found.expect("is no `Ok(None)`").1));
                    }
                }
            }
        }
        Ok(all)
    }

    /// All that is wrong with the file of `name`, where [`all`](Self::all) tells the first of it.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn mistakes(&self, name: &str) -> Result<Vec<Invalid>> {
        for path in [&self.lasting, &self.passing].map(|directory| file(directory, name)) {
            if let Some(text) = text(&path)? {
                return Ok(network_file::mistakes(&text, &path.to_string_lossy(), name));
            }
        }
        Ok(Vec::new())
    }

    /// The networks of which a range overlaps another network's, and what is wrong with it. Containers can join the first
    /// of both that has some.
    ///
    /// # Errors
    /// When a folder cannot be read.
    pub fn overlapping(&self) -> Result<Vec<(NetworkName, Invalid)>> {
        let sound = self.sound()?;
        let of = |definition: &Definition| {
            let (name, ranges) = (definition.name.clone(), definition.subnets.iter().map(|subnet| subnet.range));
            ranges.map(|range| Taken { network: name.clone(), range }).collect::<Vec<_>>()
        };
        let all: Vec<Taken> = sound.iter().flat_map(of).collect();
        let overlapping = |one: &Taken| {
            let others: Vec<Taken> = all.iter().filter(|other| other.network != one.network).cloned().collect();
            let Taken { network, range } = pool::overlapped(&one.range, &others)?;
            let field = format!("network {}: subnet", one.network);
            Some((
                one.network.clone(),
                Invalid::new(field, one.range, format!("overlaps {range} of network {network}")),
            ))
        };
        Ok(all.iter().filter_map(overlapping).collect())
    }

    /// The names of all that have a file, whatever is in it.
    ///
    /// # Errors
    /// When a folder cannot be read.
    pub fn names(&self) -> Result<BTreeSet<NetworkName>> {
        let all = [names(&self.lasting)?, names(&self.passing)?].concat();
        Ok(all.iter().filter_map(|name| name.parse().ok()).collect())
    }

    /// Those with which nothing is wrong.
    ///
    /// # Errors
    /// When a folder cannot be read.
    pub fn sound(&self) -> Result<Vec<Definition>> {
        Ok(self.all()?.into_values().filter_map(Result::ok).collect())
    }

    /// Keeps others from changing them.
    ///
    /// # Errors
    /// When another process does so for longer than 20 seconds.
    pub fn change(&self) -> Result<Changing<'_>> {
        kernel::state_dir(&self.state_dir)?;
        let lock = LockFile::of(&self.state_dir).exclusive(Place::Definitions)?;
        Ok(Changing { definitions: self, _lock: lock })
    }

    /// Removes what killed commands left of files that they were writing.
    ///
    /// # Errors
    /// When a folder cannot be read, or another process changes definitions for longer than 20 seconds.
    pub fn remove_drafts(&self) -> Result<()> {
        for directory in [&self.lasting, &self.passing] {
            if kernel::has_drafts(directory)? {
                return self.change()?.remove_drafts();
            }
        }
        Ok(())
    }

    fn path(&self, name: &NetworkName, lifetime: Lifetime) -> PathBuf {
        file(self.directory(lifetime), name.as_str())
    }

    fn directory(&self, lifetime: Lifetime) -> &Path {
        match lifetime {
            Lifetime::Lasting => &self.lasting,
            Lifetime::ThisBoot => &self.passing,
        }
    }
}

impl Changing<'_> {
    /// Writes a definition.
    ///
    /// # Errors
    /// When it cannot be written, or could not be read again.
    pub fn write(&self, definition: &Definition, lifetime: Lifetime) -> Result<()> {
        let (name, text) = (&definition.name, definition.text());
        network_file::parse(&text, &format!("network {name}"), name.as_str())?;
        if text.len() > network_file::MAX_BYTES {
            let most = network_file::MAX_BYTES;
            return Err(Invalid::new("network", name, format!("says more than the {most} bytes of a file")).into());
        }
        self.write_text(name, &text, lifetime)
    }

    /// Adds to the file of `chosen` what was chosen since it left that open. All else of it stays as a person wrote it.
    ///
    /// # Errors
    /// When there is none any more, or it cannot be written.
    pub fn complete(&self, chosen: &Definition) -> Result<()> {
        let name = &chosen.name;
        let lifetime = self.lifetime(name)?;
        let found = read(self.definitions.directory(lifetime), name.as_str())?;
        let Some((text, found)) = found else { return Ok(()) };
        let mut whole = String::new();
        if let (None, Some(link)) = (&found.link, &chosen.link) {
            whole += &format!("bridge = \"{link}\" # chosen by ocinet\n");
        }
        whole += &text;
        let chosen = chosen.subnets.iter().filter(|subnet| !found.subnets.contains(subnet));
        if found.open_families() != Families::default() {
            if !whole.ends_with('\n') {
                whole.push('\n');
            }
            chosen.for_each(|subnet| network_file::write_subnet(&mut whole, subnet));
        }
        self.write_text(name, &whole, lifetime)
    }

    /// Writes the definition again, where it is.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn rewrite(&self, definition: &Definition) -> Result<()> {
        self.write(definition, self.lifetime(&definition.name)?)
    }

    /// Removes the definition of `name`.
    ///
    /// # Errors
    /// When the file cannot be removed.
    pub fn remove(&self, name: &NetworkName) -> Result<()> {
        for lifetime in [Lifetime::Lasting, Lifetime::ThisBoot] {
            let path = self.definitions.path(name, lifetime);
            // A file system that cannot be written refuses also for a file that is not there.
            if !kernel::is_gone(&path) {
                kernel::remove_file(&path)?;
            }
        }
        self.remove_drafts()
    }

    fn remove_drafts(&self) -> Result<()> {
        for directory in [&self.definitions.lasting, &self.definitions.passing] {
            kernel::remove_drafts(directory)?;
        }
        Ok(())
    }

    fn lifetime(&self, name: &NetworkName) -> Result<Lifetime> {
        let path = self.definitions.path(name, Lifetime::Lasting);
        let lasts = kernel::read_regular(&path, network_file::MAX_BYTES)?.is_some();
        Ok(if lasts { Lifetime::Lasting } else { Lifetime::ThisBoot })
    }

    fn write_text(&self, name: &NetworkName, text: &str, lifetime: Lifetime) -> Result<()> {
        let path = self.definitions.path(name, lifetime);
        kernel::write_lasting(&path, text).map_err(|error| match error.errno() {
            Some(code @ libc::EROFS) if lifetime == Lifetime::Lasting => {
                let what =
                    format!("write {} (with --runtime it goes to /run, until the host restarts)", path.display());
                kernel::Error::refused(what, std::io::Error::from_raw_os_error(code)).into()
            }
            _ => error.into(),
        })
    }
}

/// What the files in `directory` define.
fn names(directory: &Path) -> Result<Vec<String>> {
    let files = kernel::names_in(directory)?;
    let name = |file: &String| file.strip_suffix(".toml").filter(|name| !name.starts_with('.')).map(str::to_owned);
    Ok(files.iter().filter_map(name).collect())
}

fn read(directory: &Path, name: &str) -> Result<Option<(String, Definition)>> {
    let path = file(directory, name);
    let Some(text) = text(&path)? else { return Ok(None) };
    let definition = network_file::parse(&text, &path.to_string_lossy(), name)?;
    Ok(Some((text, definition)))
}

fn file(directory: &Path, name: &str) -> PathBuf {
    directory.join(format!("{name}.toml"))
}

fn text(path: &Path) -> Result<Option<String>> {
    let Some(bytes) = kernel::read_regular(path, network_file::MAX_BYTES)? else { return Ok(None) };
    let text = String::from_utf8_lossy(&bytes);
    // Some editors begin a file so. In the middle of one it is no TOML.
    Ok(Some(text.trim_start_matches('\u{feff}').to_owned()))
}
