//! The network functions over ttrpc: every method, and its errors for wrong arguments.

use anyhow::{Result, ensure};
use ocinet_integration::service::{Service, forever};
use ocinet_integration::{Container, Host, Proto::Tcp, Settings, UPLINK, every};
use ocinet_proto::ttrpc::Code;
use ocinet_proto::v1::attach_response::Outcome;
use ocinet_proto::v1::*;

fn attach(container: &Container<'_>, id: &str) -> AttachRequest {
    let (bundle, pid) = (container.bundle().to_owned(), i32::try_from(container.pid()).unwrap_or(0));
    AttachRequest { id: id.into(), bundle, pid, ..Default::default() }
}

fn detach(container: &Container<'_>, id: &str) -> DetachRequest {
    DetachRequest { id: id.into(), bundle: container.bundle().to_owned(), ..Default::default() }
}

/// The method `check` finds nothing wrong, and then a bridge that is down.
fn check_names_what_is_wrong(host: &Host, service: &Service) -> Result<()> {
    let check = service.call(async |client| client.check(forever(), &Default::default()).await)?;
    ensure!(check.findings.iter().all(|finding| finding.kind == finding::Kind::KIND_NOTE.into()), "{check}");
    host.sh("ip link set ocinet0 down")?;
    let check = service.call(async |client| client.check(forever(), &Default::default()).await)?;
    ensure!(
        check.findings.iter().any(|f| f.kind == finding::Kind::KIND_OURS.into() && f.subject.contains("ocinet0")),
        "{check}"
    );
    // It has lost the permanent entries of its containers.
    host.sh("ip link set ocinet0 up")?;
    host.ocinet("doctor --fix")?.success().map(drop)
}

/// A container's life without a hook.
#[test]
fn every_method() -> Result<()> {
    Settings::default().test(|host| {
        let service = Service::start(host, &[])?;
        let web = host.container("web").publish("8080:80").annotation("io.ocinet.name", "shop").prepare()?;
        let request = attach(&web, "web");
        let attached = service.call(async |client| client.attach(forever(), &request).await)?;
        ensure!(attached.outcome == Outcome::OUTCOME_ATTACHED.into() && attached.warnings.is_empty(), "{attached}");
        let sandbox = web.sandbox()?;
        let container = &attached.container;
        ensure!(container.id == "web" && container.name == "shop" && container.bundle == web.bundle(), "{attached}");
        ensure!(container.mode == Mode::MODE_BRIDGE.into(), "{attached}");
        ensure!(container.state == State::STATE_ATTACHED.into(), "{attached}");
        ensure!(container.endpoints[0].addresses == sandbox.endpoints[0].addresses, "{attached}");
        ensure!(container.endpoints[0].host_interface == sandbox.endpoints[0].host_interface, "{attached}");
        let ports = &container.published[0];
        ensure!((ports.host_port, ports.container_port, ports.count) == (8080, 80, 1), "{attached}");
        ensure!(ports.host_address.is_empty() && ports.protocol == Protocol::PROTOCOL_TCP.into(), "{attached}");
        host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("web")?;

        let again = service.call(async |client| client.attach(forever(), &request).await)?;
        ensure!(again.outcome == Outcome::OUTCOME_STANDS.into() && again.container == attached.container, "{again}");
        every(["web", "shop"], |name| {
            let request = InspectRequest { container: (*name).to_owned(), ..Default::default() };
            let found = service.call(async |client| client.inspect(forever(), &request).await)?;
            ensure!(found.containers == [attached.container.clone().unwrap_or_default()], "{found}");
            Ok(())
        })?;
        let networks = service.call(async |client| client.list_networks(forever(), &Default::default()).await)?;
        let names: Vec<_> =
            networks.networks.iter().map(|network| (network.name.as_str(), network.containers)).collect();
        ensure!(names == [("bridge", 1), ("host", 0), ("none", 0)], "{networks}");
        let request = InspectNetworkRequest { name: "bridge".into(), ..Default::default() };
        let bridge = service.call(async |client| client.inspect_network(forever(), &request).await)?;
        ensure!(bridge.network.subnets[0].range == "10.90.0.0/16" && bridge.network.bridge == "ocinet0", "{bridge}");
        ensure!(bridge.containers[0].id == "web", "{bridge}");
        check_names_what_is_wrong(host, &service)?;

        host.check()?;
        let request = detach(&web, "web");
        for _ in 0..2 {
            service.call(async |client| client.detach(forever(), &request).await)?;
        }
        let list = service.call(async |client| client.list(forever(), &Default::default()).await)?;
        ensure!(list.containers.is_empty() && list.next == 0, "{list}");
        host.peer().cannot_reach(Tcp, format!("{UPLINK}:8080"))
    })
}

/// A network that a call creates is the one that commands see; containers join it and another by one call, are named by
/// the refusal to remove it, and both ends of its life are told to those who follow.
#[test]
fn networks_of_ones_own() -> Result<()> {
    Settings::default().test(|host| {
        let service = Service::start(host, &[])?;
        let mut follower = service.follow()?;
        let subnet = SubnetRequest { range: "10.70.0.0/24".into(), gateway: "10.70.0.9".into(), ..Default::default() };
        let options = [("icc".to_owned(), "false".to_owned())].into();
        let request =
            CreateNetworkRequest { name: "front".into(), subnets: vec![subnet], options, ..Default::default() };
        let made = service.call(async |client| client.create_network(forever(), &request).await)?;
        ensure!(made.network.subnets[0].gateway == "10.70.0.9" && made.warnings.is_empty(), "{made}");
        let (code, why) = service.refused(async |client| client.create_network(forever(), &request).await)?;
        ensure!(code == Code::ALREADY_EXISTS && why.contains("front"), "{why}");
        host.ocinet("network create --internal back")?.success()?;
        host.sh("grep -q 'icc = false' /etc/ocinet/networks/front.toml")?;
        for expected in ["+network front", "+network back"] {
            let (change, event) = follower.change()?;
            ensure!(change == expected, "expected {expected}: {event}");
        }

        let web = host.container("web").network("front;back").prepare()?;
        let request = attach(&web, "web");
        let attached = service.call(async |client| client.attach(forever(), &request).await)?;
        let joined: Vec<_> = attached.container.endpoints.iter().map(|endpoint| endpoint.network.as_str()).collect();
        ensure!(joined == ["front", "back"], "{attached}");
        let (change, event) = follower.change()?;
        ensure!(change == "+web" && event.container.endpoints.len() == 2, "{event}");
        let remove = |name: &str| RemoveNetworkRequest { name: name.into(), ..Default::default() };
        let request = remove("front");
        let (code, why) = service.refused(async |client| client.remove_network(forever(), &request).await)?;
        ensure!(code == Code::ALREADY_EXISTS && why.contains("web"), "{why}");
        web.hook("poststop")?.success()?;
        ensure!(follower.change()?.0 == "-web", "it is told");
        service.call(async |client| client.remove_network(forever(), &request).await)?;
        host.ocinet("network rm back")?.success()?;
        for expected in ["-network front", "-network back"] {
            let (change, event) = follower.change()?;
            ensure!(change == expected, "expected {expected}: {event}");
        }
        let rows = [("front", Code::NOT_FOUND), ("bridge", Code::INVALID_ARGUMENT), ("a/b", Code::INVALID_ARGUMENT)];
        every(rows, |(name, expected)| {
            let request = remove(name);
            let (code, why) = service.refused(async |client| client.remove_network(forever(), &request).await)?;
            ensure!(code == *expected && why.contains(name), "{code:?}: {why}");
            Ok(())
        })?;
        host.sh("rmdir /etc/ocinet/networks").map(drop)
    })
}

/// A container that runs joins and leaves a network by calls.
#[test]
fn connect_and_disconnect() -> Result<()> {
    Settings::default().test(|host| {
        let service = Service::start(host, &[])?;
        host.ocinet("network create back")?.success()?;
        let web = host.container("web").publish("8080:80").run()?;
        let sibling = host.container("sibling").network("back").run()?;
        let request = |options: &[(&str, &str)]| ConnectRequest {
            network: "back".into(),
            container: "web".into(),
            options: options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            ..Default::default()
        };
        let rows = [
            ("ip", "10.90.0.9", Code::INVALID_ARGUMENT, "10.90.0.9"),
            ("speed", "9", Code::INVALID_ARGUMENT, "speed"),
            ("ip", "10.64.0.9,mtu=9", Code::INVALID_ARGUMENT, "options"),
            ("interface", "eth0", Code::ALREADY_EXISTS, "eth0"),
        ];
        every(rows, |(key, value, expected, word)| {
            let request = request(&[(key, value)]);
            let (code, why) = service.refused(async |client| client.connect(forever(), &request).await)?;
            ensure!(code == *expected && why.contains(word), "{code:?}: {why}");
            Ok(())
        })?;
        let wanted = request(&[("ip", "10.64.0.9"), ("gw-priority", "1")]);
        let connected = service.call(async |client| client.connect(forever(), &wanted).await)?;
        ensure!(connected.container.endpoints[1].addresses == ["10.64.0.9/24"], "{connected}");
        ensure!(connected.container.endpoints[1].gateways == ["10.64.0.1"], "it has the default route: {connected}");
        sibling.reaches(Tcp, "10.64.0.9:80")?.is("web")?;
        host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("web")?;
        let leave = DisconnectRequest { network: "back".into(), container: "web".into(), ..Default::default() };
        service.call(async |client| client.disconnect(forever(), &leave).await)?;
        sibling.cannot_reach(Tcp, "10.64.0.9:80")?;
        host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("web")?;
        let (code, why) = service.refused(async |client| client.disconnect(forever(), &leave).await)?;
        ensure!(code == Code::NOT_FOUND && why.contains("back"), "{code:?}: {why}");
        let last = DisconnectRequest { network: "bridge".into(), ..leave };
        let left = service.call(async |client| client.disconnect(forever(), &last).await)?;
        ensure!(left.warnings.iter().any(|line| line.contains("lead nowhere")), "{left}");
        web.delete()?;
        sibling.delete()?;
        host.settled_sandboxes()?;
        host.ocinet("network rm back")?.success()?;
        host.sh("rmdir /etc/ocinet/networks").map(drop)
    })
}

/// What a call says wrongly of a network is refused in words that name it, and nothing is written.
#[test]
fn networks_that_cannot_be_had() -> Result<()> {
    Settings::default().test(|host| {
        let service = Service::start(host, &[])?;
        let base = || CreateNetworkRequest { name: "n".into(), ..Default::default() };
        let subnet = |range: &str, gateway: &str, pool: &str| {
            let (range, gateway, pool) = (range.to_owned(), gateway.to_owned(), pool.to_owned());
            vec![SubnetRequest { range, gateway, pool, ..Default::default() }]
        };
        let rows = [
            (CreateNetworkRequest { name: "host".into(), ..base() }, Code::INVALID_ARGUMENT, "host"),
            (CreateNetworkRequest { name: String::new(), ..base() }, Code::INVALID_ARGUMENT, "network"),
            (CreateNetworkRequest { subnets: subnet("web", "", ""), ..base() }, Code::INVALID_ARGUMENT, "web"),
            (
                CreateNetworkRequest { subnets: subnet("10.70.0.0/24", "10.71.0.1", ""), ..base() },
                Code::INVALID_ARGUMENT,
                "10.71.0.1",
            ),
            (
                CreateNetworkRequest { subnets: subnet("10.70.0.0/24", "", "10.71.0.0/25"), ..base() },
                Code::INVALID_ARGUMENT,
                "10.71.0.0",
            ),
            (
                CreateNetworkRequest { subnets: subnet("10.90.1.0/24", "", ""), ..base() },
                Code::ALREADY_EXISTS,
                "bridge",
            ),
            (CreateNetworkRequest { dns: vec!["x".into()], ..base() }, Code::INVALID_ARGUMENT, "dns"),
            (
                CreateNetworkRequest { options: [("speed".into(), "9".into())].into(), ..base() },
                Code::INVALID_ARGUMENT,
                "speed",
            ),
            (CreateNetworkRequest { routes: vec!["x".into()], ..base() }, Code::INVALID_ARGUMENT, "route"),
        ];
        host.unchanged_by(|| {
            every(rows, |(request, expected, word)| {
                let (code, why) = service.refused(async |client| client.create_network(forever(), request).await)?;
                ensure!(code == *expected && why.contains(word), "{code:?}: {why}");
                Ok(())
            })
        })
    })
}

/// Annotations that the request has and the bundle lacks; without any, the container gets nothing.
#[test]
fn annotations_of_the_request() -> Result<()> {
    Settings::default().test(|host| {
        let service = Service::start(host, &[])?;
        let quiet = host.container("quiet").without_annotations().prepare()?;
        let mut request = attach(&quiet, "quiet");
        let nothing = service.call(async |client| client.attach(forever(), &request).await)?;
        ensure!(nothing.outcome == Outcome::OUTCOME_NOTHING_ASKED.into() && nothing.container.is_none(), "{nothing}");
        ensure!(host.sandboxes()?.is_empty(), "nothing was asked for");
        request.annotations.insert("io.ocinet.network".into(), "none".into());
        request.annotations.insert("io.ocinet.publish".into(), "8080:80".into());
        let none = service.call(async |client| client.attach(forever(), &request).await)?;
        ensure!(none.container.mode == Mode::MODE_NONE.into(), "{none}");
        ensure!(none.warnings.len() == 1 && none.warnings[0].contains("no effect"), "{none}");
        let request = detach(&quiet, "quiet");
        service.call(async |client| client.detach(forever(), &request).await).map(drop)
    })
}

/// A container that a hook attached is listed, page by page, and the service can detach it; and the other way round.
#[test]
fn hooks_and_the_service_see_the_same() -> Result<()> {
    Settings::default().test(|host| {
        let service = Service::start(host, &[])?;
        let containers =
            (0..5).map(|n| host.container(&format!("c{n}")).network("none").run()).collect::<Result<Vec<_>>>()?;
        let mut request = ListRequest { limit: 2, ..Default::default() };
        let mut pages = Vec::new();
        loop {
            let page = service.call(async |client| client.list(forever(), &request).await)?;
            pages.push(page.containers.iter().map(|container| container.id.clone()).collect::<Vec<_>>().join(" "));
            match page.next {
                0 => break,
                next => request.after = next,
            }
        }
        ensure!(pages == ["c0 c1", "c2 c3", "c4"], "{pages:?}");
        let request = detach(&containers[0], "c0");
        service.call(async |client| client.detach(forever(), &request).await)?;
        ensure!(host.sandboxes()?.len() == 4, "{:?}", host.sandboxes()?);
        let request = attach(&containers[0], "c0");
        service.call(async |client| client.attach(forever(), &request).await)?;
        containers.into_iter().try_for_each(Container::delete)
    })
}

/// Each refusal names the fault in the same words as the hook, and changes nothing.
#[test]
fn wrong_arguments() -> Result<()> {
    Settings::default().test(|host| {
        let service = Service::start(host, &[])?;
        let _holder = host.container("holder").publish("8080:80").run()?;
        let web = host.container("web").prepare()?;
        let right = attach(&web, "web");
        let with = |key: &str, value: &str| {
            let mut request = right.clone();
            request.annotations.insert(key.into(), value.into());
            request
        };
        let rows = [
            (AttachRequest { id: String::new(), ..right.clone() }, Code::INVALID_ARGUMENT, "id"),
            (AttachRequest { id: "a/b".into(), ..right.clone() }, Code::INVALID_ARGUMENT, "a/b"),
            (AttachRequest { bundle: "bundle".into(), ..right.clone() }, Code::INVALID_ARGUMENT, "absolute"),
            (AttachRequest { bundle: "/nowhere".into(), ..right.clone() }, Code::INVALID_ARGUMENT, "config.json"),
            (AttachRequest { pid: 0, ..right.clone() }, Code::INVALID_ARGUMENT, "pid"),
            (AttachRequest { pid: 1, ..right.clone() }, Code::INVALID_ARGUMENT, "init"),
            (AttachRequest { pid: -5, ..right.clone() }, Code::INVALID_ARGUMENT, "-5"),
            (AttachRequest { pid: i32::MAX, ..right.clone() }, Code::INVALID_ARGUMENT, "2147483647"),
            (with("io.ocinet.netwrok", "none"), Code::INVALID_ARGUMENT, "io.ocinet.network"),
            (with("io.ocinet.network", "bridge:ip=10.90.0.1"), Code::INVALID_ARGUMENT, "10.90.0.1"),
            (with("io.ocinet.publish", "8080:80"), Code::ALREADY_EXISTS, "holder"),
            (with("io.ocinet.network", "host"), Code::INVALID_ARGUMENT, "ocinet prepare"),
        ];
        every(rows, |(request, code, word)| {
            let refused = || service.refused(async |client| client.attach(forever(), request).await);
            let (found, message) = host.unchanged_by(refused)?;
            ensure!(found == *code && message.contains(word), "{found:?}: {message}");
            let state = serde_json::json!({
                "id": request.id, "bundle": request.bundle, "pid": request.pid, "annotations": request.annotations,
            });
            let hook = host.hook("createRuntime", state.to_string())?;
            ensure!(hook.code != 0 && hook.stderr == format!("ocinet: {message}\n"), "{message}\n{hook}");
            Ok(())
        })?;
        let request = InspectRequest { container: "holdre".into(), ..Default::default() };
        let (code, message) = service.refused(async |client| client.inspect(forever(), &request).await)?;
        ensure!(code == Code::NOT_FOUND && message.contains("did you mean holder"), "{code:?}: {message}");
        let request = InspectNetworkRequest { name: "brigde".into(), ..Default::default() };
        let (code, message) = service.refused(async |client| client.inspect_network(forever(), &request).await)?;
        ensure!(code == Code::NOT_FOUND && message.contains("did you mean bridge"), "{code:?}: {message}");
        let request = DetachRequest { id: "web".into(), bundle: "here".into(), ..Default::default() };
        let (code, message) = service.refused(async |client| client.detach(forever(), &request).await)?;
        ensure!(code == Code::INVALID_ARGUMENT && message.contains("here"), "{code:?}: {message}");
        Ok(())
    })
}

/// A client that only looks at a host that was never used creates nothing there.
#[test]
fn an_unused_host_stays_unused() -> Result<()> {
    Settings::default().test(|host| {
        let service = Service::start(host, &[])?;
        host.unchanged_by(|| {
            let list = service.call(async |client| client.list(forever(), &Default::default()).await)?;
            ensure!(list.containers.is_empty(), "{list}");
            service.call(async |client| client.list_networks(forever(), &Default::default()).await)?;
            service.call(async |client| client.check(forever(), &Default::default()).await)?;
            let request = InspectRequest { container: "web".into(), ..Default::default() };
            let (code, _) = service.refused(async |client| client.inspect(forever(), &request).await)?;
            ensure!(code == Code::NOT_FOUND, "{code:?}");
            let request = DetachRequest { id: "web".into(), bundle: "/b".into(), ..Default::default() };
            service.call(async |client| client.detach(forever(), &request).await)
        })?;
        let files = host.sh("ls /run/ocinet")?;
        ensure!(!files.contains("store"), "{files}");
        ensure!(!host.sh("nft list tables")?.contains("ocinet"), "no rules");
        Ok(())
    })
}

/// Only root can connect.
#[test]
fn the_socket_is_roots_own() -> Result<()> {
    Settings::default().test(|host| {
        let _service = Service::start(host, &[])?;
        let modes = host.sh("stat --format %a:%U /run/ocinet /run/ocinet/ocinet.sock")?;
        ensure!(modes == "700:root\n600:root\n", "{modes}");
        Ok(())
    })
}
