use ocinet::decide::ipam;
use ocinet::input::config::Config;

/// `config.toml`.
pub fn config(bytes: &[u8]) {
    let config = match Config::parse(&String::from_utf8_lossy(bytes), "/etc/ocinet/config.toml") {
        Ok(config) => config,
        Err(error) => return super::one_line(&error),
    };
    let subnets: Vec<_> = config.subnets().collect();
    assert!(!subnets.is_empty(), "no range for the network `bridge`: {config:?}");
    for subnet in subnets {
        let gateway = subnet.gateway.of_host().expect("the host is the gateway");
        assert!(subnet.range.contains(&gateway) && subnet.range == subnet.range.trunc(), "{subnet:?}");
        let first = ipam::next(&subnet, None, |_| Ok::<_, std::convert::Infallible>(false));
        let first = first.expect("nothing fails").expect("room for a container");
        assert!(ipam::check(&subnet, first).is_ok() && first != gateway, "{subnet:?}: {first}");
        assert!(ipam::check(&subnet, gateway).is_err(), "{subnet:?}");
    }
}
