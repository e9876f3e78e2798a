//! Connects and disconnects while clients come and go.

use std::time::Duration;

use anyhow::{Result, ensure};
use ocinet_integration::{Firewall, Proto::Tcp, Proto::Udp, Settings, UPLINK, every};

use super::{DEFINE, acknowledged, network};

/// How long clients come, in seconds.
const SECONDS: u32 = 3;

/// How long new connections may miss a port that moves, on a busy machine: on a quiet one it is 50 ms at most.
const MISSED: Duration = Duration::from_millis(300);

/// What moves nothing loses none of 100 connections a second, and neither a held connection nor a datagram flow.
#[test]
fn no_client_is_lost() -> Result<()> {
    every(Firewall::ALL, |firewall| {
        Settings::default().firewall(*firewall).prepare(DEFINE).test(|host| {
            let web = host.container("web").serving(&["80", "81"]).publish("8080:80,8081:81,8081:81/udp").run()?;
            let port = |port: u16| format!("{UPLINK}:{port}");
            let _held = host.peer().hold(Tcp, &port(8081), 5000)?;
            let mut datagrams = host.peer().keep_asking(&port(8081), 5001)?;
            datagrams.hears("web")?;
            let before = acknowledged(&host.peer(), 5000)?;
            let clients = host.peer().knock(&port(8080), SECONDS)?;
            let mut cycles = 0;
            while !clients.has_ended()? {
                network(host, "connect back web")?.success()?;
                network(host, "disconnect back web")?.success()?;
                cycles += 1;
            }
            let (made, lost, _) = clients.end()?;
            eprintln!("{firewall:?}: {made} connections beside {cycles} connects and disconnects, {lost} lost");
            ensure!(lost == 0 && made > 100 && cycles > 4, "{lost} of {made} lost beside {cycles}");
            ensure!(acknowledged(&host.peer(), 5000)? > before, "the held connection goes on");
            datagrams.hears("web")?;
            web.delete()?;
            host.settles()
        })
    })
}

/// New connections miss a port that moves for a moment only, and connections that do not go through it not at all.
#[test]
fn a_port_that_moves_is_missed_for_a_moment() -> Result<()> {
    every(Firewall::ALL, |firewall| {
        Settings::default().firewall(*firewall).prepare(DEFINE).test(|host| {
            let web = host.container("web").serving(&["80"]).network("front").publish("8080:80").run()?;
            let other = host.container("other").publish("8081:80,8081:80/udp").run()?;
            let mut unmoved = host.peer().keep_asking(&format!("{UPLINK}:8081"), 5001)?;
            let _held = host.peer().hold(Tcp, &format!("{UPLINK}:8081"), 5000)?;
            let clients = host.peer().knock(&format!("{UPLINK}:8080"), SECONDS)?;
            let mut moves = 0;
            while !clients.has_ended()? {
                network(host, "connect --gw-priority 1 back web")?.success()?;
                network(host, "disconnect back web")?.success()?;
                moves += 2;
            }
            let (made, lost, longest) = clients.end()?;
            eprintln!("{firewall:?}: {moves} moves, {lost} of {made} connections lost, {longest:?} at the longest");
            ensure!(moves > 4 && longest <= MISSED, "{moves} moves, {lost} of {made} lost, {longest:?}");
            acknowledged(&host.peer(), 5000)?;
            unmoved.hears("other")?;
            host.peer().reaches(Udp, format!("{UPLINK}:8081"))?.is("other")?;
            web.delete()?;
            other.delete()?;
            host.settles()
        })
    })
}
