//! Commands that a person could type: every line that `ocinet plan` and the doctor print. Pure.
//!
//! A container chooses the names of its interfaces and files, so each is quoted as one word of a shell.

mod files;
mod firewall;
mod names;
mod pass;
mod steps;
mod uplinks;

pub use files::{files, hostname};
pub use firewall::{load, no_flows, no_port, port};
pub use names::{names_namespace, names_port};
pub use pass::{accept_bridge, accept_in, firewalld_zone};
pub use steps::{change, endpoint_step, in_sandbox, input_loop, network_step, proxy_entry, sandbox_step, setting};
pub use uplinks::keep_uplinks;

use crate::model::is_printable;

/// Stands for the process id of the container's init.
pub const PID: &str = "$PID";

/// `text` as one word of a shell, in quotes where it needs them: an interface may be called `$(reboot)`.
///
/// `shlex` quotes what a shell would not take literally, but leaves control characters and those that reorder text as
/// they are, and refuses NUL. A terminal would not show these, so such a text becomes octal numbers in the quotes that
/// bash, zsh and POSIX have for them (POSIX.1-2024, Shell Command Language, 2.2.4).
pub fn word(text: &str) -> String {
    match shlex::try_quote(text) {
        Ok(word) if text.chars().all(is_printable) => word.into_owned(),
        _ => dollar_quoted(text),
    }
}

fn dollar_quoted(text: &str) -> String {
    let mut word = "$'".to_owned();
    for c in text.chars() {
        match c {
            '\'' | '\\' => word.extend(['\\', c]),
            _ if is_printable(c) => word.push(c),
            _ => c.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| word.push_str(&format!("\\{byte:03o}"))),
        }
    }
    word + "'"
}

/// `command` with `text`, which ends its last line, on its stdin: a here-document that no line of the text ends, be it
/// the name of a host called `END`.
pub fn fed(command: &str, text: &str) -> String {
    let mut end = "END".to_owned();
    while text.lines().any(|line| line == end) {
        end.push('_');
    }
    format!("{command} <<'{end}'\n{text}{end}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::{InterfaceIpv6, SandboxStep};

    #[test]
    fn no_name_leaves_its_quotes() {
        assert_eq!(word("a b"), "'a b'");
        assert_eq!(word("'; reboot"), r#""'; reboot""#);
        assert_eq!(word("a\n'\\\u{202e}"), r"$'a\012\'\\\342\200\256'");
        assert_eq!(word("\0"), r"$'\000'");
        let of = |name: &str| {
            let (name, addresses) = (name.parse().unwrap(), vec!["10.90.0.2/16".parse().unwrap()]);
            sandbox_step(&SandboxStep::Interface { name, addresses, ipv6: InterfaceIpv6::Off })
        };
        assert_eq!(of("a;reboot")[2], "ip link set dev 'a;reboot' up");
        assert_eq!(of("eth0.5")[0], "sysctl -qw net/ipv6/conf/eth0.5/disable_ipv6=1");
    }

    #[test]
    fn no_line_ends_a_document_early() {
        assert_eq!(fed("cat", "web\n"), "cat <<'END'\nweb\nEND");
        assert_eq!(fed("cat", "END\nEND_\n"), "cat <<'END__'\nEND\nEND_\nEND__");
    }
}
