//! Getting through the firewalls of other programs. What cannot be opened costs a warning, and never the container: it may
//! need nothing from outside.

use slog::{info, warn};

use crate::engine::{Engine, Result};
use crate::firewall::pass::{Closed, Stranger, Survey};
use crate::kernel::{self, Neighbours};
use crate::model::InterfaceName;

impl Engine {
    /// Opens every door that is there and closed, and names what has none.
    pub(in crate::engine) fn pass_neighbours(&mut self, bridge: &InterfaceName) -> Result<()> {
        let mut survey = self.survey()?;
        if !survey.closed().is_empty() {
            let _alone = self.alone_at_firewall()?;
            // Whoever had the lock before us may have opened it.
            survey = self.survey()?;
            for door in survey.closed() {
                self.open_door(door);
            }
        }
        for stranger in self.obstacles(&survey, bridge)? {
            let (place, remedy) = (stranger.place(), stranger.remedy(bridge));
            warn!(self.log, "chain {place} of another program drops what {bridge} forwards; to let it pass: {remedy}");
        }
        Ok(())
    }

    fn open_door(&self, door: Closed) {
        let (subject, trouble) = (door.subject(), door.trouble());
        if let Some(remedy) = door.remedy() {
            warn!(self.log, "{subject} {trouble}; to let it pass: {remedy}");
            return;
        }
        info!(self.log, "opening a door"; "of" => &subject);
        let opened = match door {
            Closed::Iptables(variant, door) => kernel::open_passage(variant, door),
            Closed::Firewalld(_) => kernel::change_zone(true),
        };
        if let Err(error) = opened {
            warn!(self.log, "{subject} {trouble}, and could not be changed: {error}");
        }
    }

    /// The chains that drop what `bridge` forwards, and are not ours to change.
    pub(in crate::engine) fn obstacles<'s>(
        &mut self,
        survey: &'s Survey,
        bridge: &InterfaceName,
    ) -> Result<Vec<&'s Stranger>> {
        let mut obstacles = Vec::new();
        for stranger in &survey.strangers {
            if !self.neighbours()?.mentions(stranger, bridge)? {
                obstacles.push(stranger);
            }
        }
        Ok(obstacles)
    }

    /// Closes every door again, and returns where.
    pub(in crate::engine) fn close_doors(&mut self) -> Result<Vec<String>> {
        let survey = self.survey()?;
        let filters = survey.filters.iter().filter(|filter| filter.has_passage());
        let mut doors: Vec<_> = filters
            .map(|filter| (format!("the rules of {}", filter.variant.program()), kernel::close_passage(filter.variant)))
            .collect();
        if survey.firewalld.is_some_and(|firewalld| firewalld.is_open && !firewalld.is_permanent) {
            doors.push(("firewalld".to_owned(), kernel::change_zone(false)));
        }
        let mut closed = Vec::new();
        for (door, result) in doors {
            match result {
                Ok(()) => closed.push(door),
                Err(error) => warn!(self.log, "the passage through {door} stays: {error}"),
            }
        }
        Ok(closed)
    }

    /// What other programs' firewalls make of what we forward.
    pub(in crate::engine) fn survey(&mut self) -> Result<Survey> {
        Ok(self.neighbours()?.survey()?)
    }

    /// The connection to look at them, opened when it is first needed and kept: to close it can take long.
    fn neighbours(&mut self) -> Result<&mut Neighbours> {
        if self.neighbours.is_none() {
            self.neighbours = Some(Neighbours::open()?);
        }
        Ok(self.neighbours.as_mut().expect("it was opened just now"))
    }
}
