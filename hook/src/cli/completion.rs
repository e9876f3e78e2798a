use clap::ValueEnum;
use clap_complete::env::{Bash, EnvCompleter, Fish, Zsh};

use ocinet::engine::Result;

use super::complete::VARIABLE;
use super::print;

/// Print a shell's completions.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

/// The shells we write completions for.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

impl Arguments {
    pub(super) fn run(self) -> Result<()> {
        print(&String::from_utf8_lossy(&script(self.shell)))
    }
}

/// A script that asks this program for what there is.
fn script(shell: Shell) -> Vec<u8> {
    let completer: &dyn EnvCompleter = match shell {
        Shell::Bash => &Bash,
        Shell::Zsh => &Zsh,
        Shell::Fish => &Fish,
    };
    let mut script = Vec::new();
    let written = completer.write_registration(VARIABLE, "ocinet", "ocinet", "ocinet", &mut script);
    written.expect("memory takes all of it");
    script
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_asks_the_program() {
        for shell in Shell::value_variants() {
            let script = String::from_utf8(script(*shell)).unwrap();
            assert!(script.contains(VARIABLE) && script.contains("ocinet"), "{shell:?}: {script}");
        }
    }
}
