//! Clients that hang, flood or send garbage do not disturb other clients; and the cost of the service.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ocinet_integration::service::{Deaf, Service, forever};
use ocinet_integration::{Container, Settings, eventually};
use ocinet_proto::protobuf::Message;
use ocinet_proto::ttrpc::Code;
use ocinet_proto::ttrpc::proto::{
    MESSAGE_HEADER_LENGTH, MESSAGE_TYPE_DATA, MESSAGE_TYPE_REQUEST, MessageHeader, Request, Response,
};
use ocinet_proto::v1::*;

/// The bytes of a frame.
fn frame(stream_id: u32, kind: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    [Vec::from(MessageHeader { length, stream_id, type_: kind, flags: 0 }), payload.to_vec()].concat()
}

fn request(stream_id: u32, method: &str) -> Result<Vec<u8>> {
    let mut request = Request::new();
    request.service = "ocinet.network.v1.Network".into();
    request.method = method.into();
    Ok(frame(stream_id, MESSAGE_TYPE_REQUEST, &request.write_to_bytes()?))
}

/// A correct client is served without delay.
fn others_are_served(service: &Service<'_>) -> Result<()> {
    let began = Instant::now();
    let list = service.call(async |client| client.list(forever(), &Default::default()).await)?;
    ensure!(list.containers.len() == 1, "{list}");
    ensure!(began.elapsed() < Duration::from_secs(5), "it took {:?}", began.elapsed());
    Ok(())
}

/// The service closes the connection.
fn is_closed(mut stream: UnixStream) -> Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Bytes that one client sends, and whether the service closes its connection for them.
#[test]
fn garbage_costs_only_who_sends_it() -> Result<()> {
    Settings::default().test(|host| {
        let _web = host.container("web").run()?;
        let service = Service::start(host, &[])?;
        let header = |length: u32, kind| Vec::from(MessageHeader { length, stream_id: 1, type_: kind, flags: 0 });
        let rows = [
            ("a length of 4 GiB", header(u32::MAX, MESSAGE_TYPE_REQUEST), true),
            ("one byte too long", header((1 << 20) + 1, MESSAGE_TYPE_REQUEST), true),
            ("HTTP", b"GET / HTTP/1.1\r\nHost: ocinet\r\n\r\n".to_vec(), true),
            ("all ones", vec![0xff; 4096], true),
            ("half a header", vec![0; 5], false),
            ("a payload that does not come", header(1 << 20, MESSAGE_TYPE_REQUEST), false),
            ("a request of noise", frame(1, MESSAGE_TYPE_REQUEST, &[0xa5; 900]), false),
            ("an even stream", frame(2, MESSAGE_TYPE_REQUEST, b""), false),
            ("data of no stream", frame(7, MESSAGE_TYPE_DATA, b"data"), false),
            ("an unknown kind", frame(1, 77, b"?").repeat(100), false),
            ("no service", frame(1, MESSAGE_TYPE_REQUEST, b""), false),
            ("no method", request(1, "Format")?, false),
        ];
        let before = service.memory("RssAnon:")?;
        for (what, bytes, closes) in rows {
            let mut streams = (0..20).map(|_| service.connect()).collect::<Result<Vec<_>>>()?;
            for stream in &mut streams {
                // The connection may be closed before all is sent.
                let _ = stream.write_all(&bytes);
            }
            others_are_served(&service).context(what)?;
            if closes {
                streams.into_iter().try_for_each(is_closed).context(what)?;
            }
        }
        let after = service.memory("RssAnon:")?;
        ensure!(after < before + 2048, "{before} kB, and {after} kB afterwards");
        Ok(())
    })
}

/// A containerd hangs: only its own events wait, and neither calls nor events of others do.
#[test]
fn a_containerd_that_accepts_nothing_holds_nobody_up() -> Result<()> {
    Settings::default().test(|host| {
        let deaf = Deaf::listen(&host.path("/mnt/deaf.sock"))?;
        // It is the containerd whose bundles are below /mnt, in its namespace "bundles".
        host.sh(r#"mkdir -m 700 /run/ocinet; mkdir /run/ocinet/containerds
                echo '{"address": "/mnt/deaf.sock", "bundles": "/mnt"}' >/run/ocinet/containerds/deaf"#)?;
        // With this option the service looks for a containerd every 100 ms, and runs on for one that may still run.
        let service = Service::start(host, &["--idle", "1"])?;
        let mut follower = service.follow()?;
        for _ in 0..3 {
            let web = host.container("web").run()?;
            ensure!(follower.change()?.0 == "+web", "it is told");
            others_are_served(&service)?;
            web.delete()?;
            ensure!(follower.change()?.0 == "-web", "it is told");
            host.settles()?;
        }
        // Once it accepts connections, it gets the event that waited.
        deaf.hears("/ocinet/")
    })
}

/// A client sends requests without end and reads no answer: the requests stay in its own socket.
#[test]
fn a_flood_fills_its_own_socket() -> Result<()> {
    Settings::default().test(|host| {
        let _web = host.container("web").run()?;
        let service = Service::start(host, &[])?;
        let before = service.memory("RssAnon:")?;
        let floods = (0..4).map(|_| -> Result<(UnixStream, usize)> {
            let mut stream = service.connect()?;
            stream.set_write_timeout(Some(Duration::from_secs(2)))?;
            let sent =
                (0..10_000u32).take_while(|n| request(2 * n + 1, "List").is_ok_and(|r| stream.write_all(&r).is_ok()));
            let sent = sent.count();
            Ok((stream, sent))
        });
        let floods = floods.collect::<Result<Vec<_>>>()?;
        ensure!(floods.iter().all(|(_, sent)| *sent < 10_000), "all was taken from a client that does not read");
        others_are_served(&service)?;
        let during = service.memory("RssAnon:")?;
        ensure!(during < before + 4096, "{before} kB, and {during} kB under the flood");
        drop(floods);
        others_are_served(&service)
    })
}

/// Two hundred clients that connect and send nothing, and as many that disconnect in the middle of a call.
#[test]
fn two_hundred_silent_clients() -> Result<()> {
    Settings::default().test(|host| {
        let _web = host.container("web").run()?;
        let service = Service::start(host, &[])?;
        let silent = (0..200).map(|_| service.connect()).collect::<Result<Vec<_>>>()?;
        others_are_served(&service)?;
        for _ in 0..200 {
            let mut stream = service.connect()?;
            stream.write_all(&request(1, "Events")?)?;
            stream.write_all(&request(3, "List")?)?;
        }
        others_are_served(&service)?;
        drop(silent);
        // More than the service allows at once: it closes the surplus, which connects again.
        let crowd = (0..600).map(|_| service.connect()).collect::<Result<Vec<_>>>()?;
        drop(crowd);
        eventually("the crowd is gone", || Ok(others_are_served(&service).is_ok()))
    })
}

/// A thousand calls, of which each opens the engine: in each round `job` is attached and detached, and the service is
/// asked. Returns the resident memory in kB after each round.
fn memory_between_calls(service: &Service<'_>, client: &NetworkClient, job: &Container<'_>) -> Result<Vec<u64>> {
    let (id, bundle, pid) = ("job".to_owned(), job.bundle().to_owned(), i32::try_from(job.pid())?);
    let attach = AttachRequest { id: id.clone(), bundle: bundle.clone(), pid, ..Default::default() };
    let detach = DetachRequest { id, bundle, ..Default::default() };
    let inspect = InspectRequest { container: "c0".into(), ..Default::default() };
    let mut between = Vec::new();
    for _ in 0..200 {
        service.wait(async {
            client.list(forever(), &Default::default()).await?;
            client.inspect(forever(), &inspect).await?;
            client.check(forever(), &Default::default()).await?;
            client.attach(forever(), &attach).await?;
            client.detach(forever(), &detach).await
        })??;
        between.push(service.memory("VmRSS:")?);
    }
    Ok(between)
}

/// The memory of the service: during a thousand calls, of which each opens the engine, between them, and after a
/// thousand that it refuses.
#[test]
fn it_stays_small() -> Result<()> {
    Settings::default().test(|host| {
        let containers =
            (0..10).map(|n| host.container(&format!("c{n}")).publish("80").run()).collect::<Result<Vec<_>>>()?;
        let job = host.container("job").publish("80").prepare()?;
        // The service checks once a second for work, and then releases unused memory.
        let service = Service::start(host, &["--idle", "10"])?;
        let client = service.client()?;
        let began = Instant::now();
        let mut between = memory_between_calls(&service, &client, &job)?;
        between.sort_unstable();
        let usual = between[between.len() / 2];
        let took = began.elapsed();
        service.wait(async {
            let wrong = InspectNetworkRequest { name: "none!".into(), ..Default::default() };
            for _ in 0..1000 {
                let _ = client.inspect_network(forever(), &wrong).await;
            }
        })?;
        let peak = service.memory("VmHWM:")?;
        // The code of a debug build alone is larger.
        let is_release = std::fs::metadata(host.path(ocinet_integration::service::SHIM))?.len() < 32 << 20;
        let (mut whole, mut own) = (0, 0);
        let rests = eventually("less than 3 MiB are its own, and 6 MiB of a release build are resident", || {
            (whole, own) = (service.memory("VmRSS:")?, service.memory("RssAnon:")?);
            Ok(own < 3 << 10 && (!is_release || whole < 6 << 10))
        });
        eprintln!(
            "the service has {whole} kB resident, {own} kB of it its own; {usual} kB between calls, {peak} kB at the most. \
             1000 calls took {took:?}"
        );
        rests?;
        ensure!(!is_release || usual < 6 << 10, "{usual} kB resident between calls");
        ensure!(!is_release || peak < 9 << 10, "{peak} kB resident at the most");
        drop(client);
        containers.into_iter().try_for_each(Container::delete)
    })
}

/// A client that does not read its events is told that it missed some, and delays no other client.
#[test]
fn a_slow_reader_is_cut_off() -> Result<()> {
    Settings::default().test(|host| {
        let service = Service::start(host, &[])?;
        let mut slow = service.connect()?;
        slow.set_read_timeout(Some(Duration::from_secs(10)))?;
        slow.write_all(&request(1, "Events")?)?;
        let mut quick = service.follow()?;
        let web = host.container("web").network("none").prepare()?;
        let (bundle, pid) = (web.bundle().to_owned(), i32::try_from(web.pid())?);
        let attach = AttachRequest { id: "web".into(), bundle: bundle.clone(), pid, ..Default::default() };
        let detach = DetachRequest { id: "web".into(), bundle, ..Default::default() };
        let cycles = 500;
        let client = service.client()?;
        for _ in 0..cycles {
            service.wait(client.attach(forever(), &attach))??;
            ensure!(quick.change()?.0 == "+web", "in order");
            service.wait(client.detach(forever(), &detach))??;
            ensure!(quick.change()?.0 == "-web", "in order");
        }
        let mut told = 0;
        let end = loop {
            let mut header = [0; MESSAGE_HEADER_LENGTH];
            slow.read_exact(&mut header)?;
            let header = MessageHeader::from(&header);
            let mut payload = vec![0; header.length as usize];
            slow.read_exact(&mut payload)?;
            match header.type_ {
                MESSAGE_TYPE_DATA => told += 1,
                _ => break Response::parse_from_bytes(&payload)?,
            }
        };
        ensure!(end.status.code == Code::RESOURCE_EXHAUSTED.into(), "{end}");
        ensure!(end.status.message.contains("missed") && told < 2 * cycles, "after {told} events: {end}");
        Ok(())
    })
}
