use std::collections::BTreeMap;

use slog::{Logger, warn};

use crate::decide::{pool, similar};
use crate::engine::{Definitions, Engine, Error, Result, default_network};
use crate::input::config::{self, Config};
use crate::input::network_file::Definition;
use crate::model::{Endpoint, Mode, Network, NetworkName, Sandbox, quoted};

/// A network with the containers on it.
pub struct NetworkView {
    /// What it is called.
    pub name: String,
    /// What it is made of.
    pub kind: NetworkKind,
    /// The containers.
    pub sandboxes: Vec<Sandbox>,
    /// Its file, where it has one.
    pub definition: Option<Definition>,
}

/// What a network is made of.
pub enum NetworkKind {
    /// A network that was defined, with any driver.
    Defined(Network),
    /// The host's own namespace.
    Host,
    /// Loopback only.
    None,
}

impl NetworkKind {
    /// The driver, as Docker calls it.
    pub fn driver(&self) -> &'static str {
        match self {
            Self::Defined(network) => network.driver.name(),
            Self::Host => "host",
            Self::None => "null",
        }
    }
}

impl NetworkView {
    /// All networks by name: those that are used as they are, the others as they are defined. The default one is there
    /// before its first container, as that would define it with these `settings`; `engine` is `None` on an unused host.
    /// The log has a line about each definition with which something is wrong, and where no range is left for the
    /// default one.
    ///
    /// # Errors
    /// When the store fails, or the settings or a folder cannot be read.
    pub fn all(
        engine: Option<&mut Engine>,
        definitions: &Definitions,
        settings: impl FnOnce() -> Result<Config>,
        log: &Logger,
    ) -> Result<Vec<Self>> {
        let (mut networks, sandboxes) = match engine {
            Some(engine) => (engine.networks()?, engine.sandboxes()?),
            None => (Vec::new(), Vec::new()),
        };
        let mut sound = Vec::new();
        for definition in definitions.all()?.into_values() {
            match definition {
                Ok(definition) => sound.push(definition),
                Err(error) => warn!(log, "{error}"),
            }
        }
        if !networks.iter().any(|network| network.name == config::default_bridge()) {
            match default_network(&settings()?, &sound) {
                Ok(network) => networks.push(network),
                // The other networks are there all the same.
                Err(Error::Exhausted(why)) => warn!(log, "{why}"),
                Err(error) => return Err(error),
            }
        }
        let is_known = |name: &NetworkName| networks.iter().any(|network| network.name == *name);
        let defined = sound.iter().filter(|definition| !is_known(&definition.name)).map(as_defined).collect::<Vec<_>>();
        networks.extend(defined);
        let mut views = Self::arrange(networks, &sandboxes);
        for definition in sound {
            if let Some(view) = views.iter_mut().find(|view| view.name == definition.name.as_str()) {
                view.definition = Some(definition);
            }
        }
        Ok(views)
    }

    /// Each of `networks`, `host` and `none` with its containers.
    pub fn arrange(networks: Vec<Network>, sandboxes: &[Sandbox]) -> Vec<Self> {
        let those = |on: &dyn Fn(&Sandbox) -> bool| sandboxes.iter().filter(|sandbox| on(sandbox)).cloned().collect();
        let mut views: Vec<Self> = networks
            .into_iter()
            .map(|network| Self {
                sandboxes: those(&|sandbox| sandbox.endpoints.iter().any(|endpoint| endpoint.network == network.name)),
                name: network.name.to_string(),
                kind: NetworkKind::Defined(network),
                definition: None,
            })
            .collect();
        for (mode, kind) in [(Mode::Host, NetworkKind::Host), (Mode::None, NetworkKind::None)] {
            let sandboxes = those(&|sandbox| sandbox.mode == mode);
            views.push(Self { name: mode.to_string(), kind, sandboxes, definition: None });
        }
        views.sort_by(|one, other| one.name.cmp(&other.name));
        views
    }

    /// What people and programs noted about it.
    pub fn labels(&self) -> &BTreeMap<String, String> {
        static NONE: BTreeMap<String, String> = BTreeMap::new();
        match (&self.definition, &self.kind) {
            (Some(definition), _) => &definition.options.labels,
            (None, NetworkKind::Defined(network)) => &network.options.labels,
            (None, NetworkKind::Host | NetworkKind::None) => &NONE,
        }
    }

    /// When `create` wrote its definition (RFC 3339).
    pub fn created(&self) -> Option<&str> {
        self.definition.as_ref()?.created.as_deref()
    }

    /// The one of that name.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is none.
    pub fn find<'v>(views: &'v [Self], name: &str) -> Result<&'v Self> {
        views.iter().find(|view| view.name == name).ok_or_else(|| {
            let hint = match similar(name, views.iter().map(|view| view.name.as_str())) {
                Some(near) => format!("did you mean {near}?"),
                None => "see ocinet network ls".to_owned(),
            };
            Error::NotFound(format!("network {} does not exist; {hint}", quoted(name)))
        })
    }

    /// What connects `sandbox` to this network; nothing does in the modes `host` and `none`.
    pub fn endpoint<'r>(&self, sandbox: &'r Sandbox) -> Option<&'r Endpoint> {
        sandbox.endpoints.iter().find(|endpoint| endpoint.network.as_str() == self.name)
    }
}

/// A network that is not used yet. What its definition leaves open is not chosen before it is.
fn as_defined(definition: &Definition) -> Network {
    let Definition { name, link, subnets, options, .. } = definition.clone();
    let link = link.unwrap_or_else(|| pool::link(&name, |_| false));
    Network { options: options.into(), ..Network::of_bridge(name, link, subnets) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Driver, Slice};

    #[test]
    fn a_network_is_shown_with_its_driver() {
        let [parent, bridge] = ["lan0", "slice7"].map(|link| link.parse().unwrap());
        let driver = Driver::Slice(Slice { parent, bridge });
        let options = Box::default();
        let network = Network { name: "lan".parse().unwrap(), driver, subnets: Vec::new(), options };
        let views = NetworkView::arrange(vec![network], &[]);
        let drivers: Vec<_> = views.iter().map(|view| (view.name.as_str(), view.kind.driver())).collect();
        assert_eq!(drivers, [("host", "host"), ("lan", "slice"), ("none", "null")]);
    }

    #[test]
    fn an_unknown_network_is_not_found_and_perhaps_guessed() {
        let views = NetworkView::arrange(Vec::new(), &[]);
        let error = NetworkView::find(&views, "hots").err().unwrap();
        assert_eq!(
            (error.exit_code(), error.to_string().as_str()),
            (5, "network \"hots\" does not exist; did you mean host?")
        );
        assert!(NetworkView::find(&views, "frontend").err().unwrap().to_string().ends_with("see ocinet network ls"));
    }
}
