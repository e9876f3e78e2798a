//! Definitions as commands write, change and remove them. No kernel object is touched: the first attach makes them.

use slog::{Logger, warn};

use crate::decide::moment;
use crate::engine::network::{Hidden, Others, not_defined, with_default};
use crate::engine::{Definitions, Engine, Error, Lifetime, Result};
use crate::input::config::Config;
use crate::input::network_file::{Definition, Draft};
use crate::kernel::{self, HostLinks};
use crate::model::NetworkName;

impl Definitions {
    /// Defines the network `name` as `draft` asks, with all chosen that it leaves open. `engine` is `None` on an unused
    /// host.
    ///
    /// # Errors
    /// [`Error::Conflict`] where there is such a network, or what is asked for is another's; [`Error::Exhausted`] where
    /// no range is left.
    pub fn create(
        &self,
        engine: Option<Engine>,
        config: &Config,
        name: NetworkName,
        draft: Draft,
        lifetime: Lifetime,
        log: &Logger,
    ) -> Result<Definition> {
        let changing = self.change()?;
        let networks = engine.map_or(Ok(Vec::new()), |mut engine| engine.networks())?;
        let all = self.all()?;
        if all.contains_key(name.as_str()) || networks.iter().any(|network| network.name == name) {
            return Err(Error::Conflict(format!("network {name} exists already; see ocinet network inspect {name}")));
        }
        let mut sound = Vec::new();
        for definition in all.into_values() {
            match definition {
                Ok(definition) => sound.push(definition),
                Err(error) => warn!(log, "{error}; what it would have is not known"),
            }
        }
        let mut definition = draft.definition(name)?;
        let mut links = HostLinks::open()?;
        if let Some(link) = &definition.link
            && links.is_of_others(link)?
        {
            let why = "is a link of this host that is not ocinet's; give the network's bridge another name";
            return Err(Error::Conflict(format!("bridge {link} {why}")));
        }
        let networks = with_default(networks, &sound, config, &mut links);
        let others = Others::than(&definition.name, &networks, &sound);
        for Hidden { range, route } in others.complete(&mut definition, config, &mut links)? {
            warn!(
                log,
                "network {} has {range}, a part of the host's route {route}, which will lead there no more once a \
                 container is on it",
                definition.name
            );
        }
        definition.created = Some(moment::written(kernel::now()));
        changing.write(&definition, lifetime)?;
        Ok(definition)
    }

    /// Changes the definition of `name`, and in the store what no kernel object follows from.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is none.
    pub fn update(&self, engine: Option<Engine>, name: &NetworkName, change: impl Fn(&mut Definition)) -> Result<()> {
        let changing = self.change()?;
        let mut definition = self.read(name)?.ok_or_else(|| not_defined(name))?;
        change(&mut definition);
        changing.rewrite(&definition)?;
        engine.map_or(Ok(()), |mut engine| engine.renew_notes(&definition))
    }
}

impl Engine {
    /// Takes over from `definition` what nothing in the kernel follows from.
    fn renew_notes(&mut self, definition: &Definition) -> Result<()> {
        self.store.write(|store| {
            let Some(mut network) = store.network(&definition.name)? else { return Ok(()) };
            network.options.dns.clone_from(&definition.options.dns);
            network.options.labels.clone_from(&definition.options.labels);
            Ok::<_, Error>(store.set_network(&network)?)
        })
    }
}
