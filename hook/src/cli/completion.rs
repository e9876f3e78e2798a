use clap::{CommandFactory, ValueEnum};

use ocinet::engine::Result;

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

fn script(shell: Shell) -> Vec<u8> {
    let generator = match shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Zsh => clap_complete::Shell::Zsh,
        Shell::Fish => clap_complete::Shell::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(generator, &mut super::Arguments::command(), "ocinet", &mut script);
    script
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_completes_commands_and_options() {
        for shell in Shell::value_variants() {
            let script = String::from_utf8(script(*shell)).unwrap();
            for word in ["inspect", "network", "timings", "completion"] {
                assert!(script.contains(word), "{shell:?}: {word}");
            }
        }
    }
}
