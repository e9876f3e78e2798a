//! Words that people type from Docker and podman and that are none of ocinet's: a sentence each, which says where what
//! they want is.

/// Commands, with what to do instead.
const COMMANDS: &[(&[&str], &str)] = &[
    (&["logs"], "the output of a container is its runtime's, as podman logs; what ocinet did is in ocinet log"),
    (
        &["start", "stop", "restart", "kill", "pause", "unpause", "wait"],
        "containers are started and ended by their runtime, as runc start and podman stop; ocinet only wires them",
    ),
    (
        &["create", "spec", "state", "exec", "attach", "cp", "top", "rename", "commit", "diff", "export"],
        "that is the runtime's to do, as podman or runc with the same word; ocinet only wires the network",
    ),
    (
        &["rm", "rmi", "delete"],
        "containers are deleted by their runtime, as runc delete; a network by ocinet network rm",
    ),
    (
        &["build", "pull", "push", "images", "image", "load", "save", "tag", "search", "login", "logout"],
        "images are podman's, Docker's or containerd's; ocinet wires containers that others make",
    ),
    (&["stats"], "what went through the links of containers is in ocinet ps --stats"),
    (&["container", "containers", "list"], "containers are listed by ocinet ps, and one is shown by ocinet inspect"),
    (&["networks"], "networks are listed by ocinet network ls"),
    (&["connect", "disconnect"], "that is ocinet network connect, and ocinet network disconnect"),
    (&["ports"], "published ports are shown by ocinet port CONTAINER"),
    (&["info", "system", "status"], "how this host is, and what it lacks, is said by ocinet doctor"),
    (&["prune"], "what dead containers left is taken away by ocinet gc, unused networks by ocinet network prune"),
    (
        &["volume", "volumes", "secret", "pod", "compose", "up", "down", "swarm", "service"],
        "ocinet has networks and published ports, and none of that; a script of ocinet network create and runc or podman does the rest",
    ),
    (&["link"], "there are no links; containers that are to reach each other are put on one network: --network NAME"),
    (&["uninstall", "remove"], "packaging/install --uninstall, or the package's removal, takes ocinet away"),
    (&["config.toml", "settings"], "settings are shown by ocinet config show"),
    (
        &["setup", "teardown", "add", "del"],
        "a runtime calls ocinet hook createRuntime and ocinet hook poststop; ocinet prepare has it do so",
    ),
];

/// Options, with what to do instead.
const OPTIONS: &[(&[&str], &str)] = &[
    (&["--link"], "there are no links; containers that are to reach each other are put on one network: --network NAME"),
    (
        &["-d", "--detach", "-it", "-i", "-t", "--tty", "--interactive", "--rm"],
        "that is the runtime's to do, as runc run --detach; ocinet run --detach does both",
    ),
    (
        &["--expose"],
        "nothing has to be exposed: containers of one network reach each other at every port; -p publishes one",
    ),
    (
        &["-v", "--volume", "--mount", "-e", "--env", "--entrypoint", "-w", "--workdir", "-u", "--user"],
        "that is in config.json, or the runtime's to do; ocinet wires the network",
    ),
    (
        &["--volumes-from", "--privileged", "--cap-add", "--device", "--memory", "--cpus"],
        "that is in config.json, or the runtime's to do; ocinet wires the network",
    ),
    (
        &["--restart"],
        "containers are started again by what supervises them, as a unit of systemd with Restart=; ocinet only wires them",
    ),
    (&["--ports", "--port"], "ports are published with -p, --publish"),
    (&["--networks"], "a network is named with --network, which may be repeated"),
    (&["--host"], "the host's network is --network host"),
    (&["--domainname"], "a search domain is --dns-search, the host name --hostname"),
];

/// What to do instead of the command `word`.
pub(super) fn instead_of_command(word: &str) -> Option<&'static str> {
    said_of(COMMANDS, word)
}

/// What to do instead of `option`, which may have a value.
pub(super) fn instead_of_option(option: &str) -> Option<&'static str> {
    said_of(OPTIONS, option.split('=').next().unwrap_or(option))
}

fn said_of(table: &[(&[&str], &'static str)], word: &str) -> Option<&'static str> {
    table.iter().find(|(words, _)| words.contains(&word)).map(|(_, sentence)| *sentence)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    /// A word that has become one of ours is not explained away.
    #[test]
    fn no_word_is_ours() {
        let command = crate::cli::Arguments::command();
        for (words, sentence) in COMMANDS {
            for word in *words {
                assert!(command.find_subcommand(word).is_none(), "{word}");
            }
            assert!(!sentence.ends_with('.') && sentence.len() < 200, "{sentence}");
        }
        let prepare = command.find_subcommand("prepare").unwrap();
        let ours = |option: &&&str| {
            prepare.get_arguments().any(|argument| {
                argument.get_long().is_some_and(|long| format!("--{long}") == **option)
                    || argument.get_short().is_some_and(|short| format!("-{short}") == **option)
            })
        };
        assert_eq!(OPTIONS.iter().flat_map(|(options, _)| options.iter()).find(ours), None);
    }

    /// Each command that a sentence sends people to is there.
    #[test]
    fn every_command_of_a_sentence_is_there() {
        let root = crate::cli::Arguments::command();
        for (_, sentence) in COMMANDS.iter().chain(OPTIONS) {
            for rest in sentence.split("ocinet ").skip(1) {
                let word = rest.split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or_default();
                let is_verb = ["only", "did", "wires", "has", "starts", "away"].contains(&word);
                assert!(is_verb || root.find_subcommand(word).is_some(), "{word} in {sentence:?}");
            }
        }
    }
}
