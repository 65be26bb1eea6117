//! Which addresses are public, and what the setting permits.

use super::*;

fn allowed(setting: &AllowPrivate, address: &str) -> bool {
    Guard::new(setting).unwrap().vet(&[address.parse().unwrap()]).is_ok()
}

#[test]
fn public_addresses_are_reachable() {
    for address in ["1.1.1.1", "8.8.8.8", "100.63.255.255", "100.128.0.1", "172.15.255.255"]
        .into_iter()
        .chain(["172.32.0.1", "198.20.0.1", "223.255.255.255", "::ffff:8.8.8.8"])
        .chain(["2606:4700::1111", "2a00:1450::1", "2001:4860:4860::8888", "2003::1"])
    {
        assert!(allowed(&AllowPrivate::No, address), "{address}");
    }
}

#[test]
fn every_special_purpose_address_is_refused_in_every_spelling() {
    let special = [
        "127.0.0.1",
        "127.255.255.255",
        "0.0.0.0",
        "10.0.0.1",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "100.127.255.255",
        "192.0.0.8",
        "192.0.2.1",
        "192.88.99.1",
        "198.18.0.1",
        "198.19.255.255",
        "198.51.100.7",
        "203.0.113.5",
        "224.0.0.1",
        "239.255.255.250",
        "240.0.0.1",
        "255.255.255.255",
        "168.63.129.16",
        "::",
        "::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::7f00:1",
        "64:ff9b::7f00:1",
        "64:ff9b:1::1",
        "100::1",
        "2001::1",
        "2001:db8::1",
        "2002:7f00:1::",
        "3fff::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fec0::1",
        "ff02::1",
        "5f00::1",
    ];
    for address in special {
        assert!(!allowed(&AllowPrivate::No, address), "{address}");
        assert!(allowed(&AllowPrivate::All, address), "{address}");
    }
}

#[test]
fn a_network_permits_its_addresses_and_no_other() {
    let setting =
        AllowPrivate::Networks(vec!["10.1.0.0/16".into(), " fd00::/8".into(), "::1".into()]);
    for address in ["10.1.0.0", "10.1.255.255", "::ffff:10.1.2.3", "fd12::1", "::1"] {
        assert!(allowed(&setting, address), "{address}");
    }
    for address in ["10.2.0.0", "10.0.255.255", "fc00::1", "::2", "127.0.0.1"] {
        assert!(!allowed(&setting, address), "{address}");
    }
}

#[test]
fn c25_one_forbidden_address_among_public_ones_is_enough() {
    let guard = Guard::new(&AllowPrivate::No).unwrap();
    let loopback: IpAddr = "::1".parse().unwrap();
    assert_eq!(guard.vet(&["8.8.8.8".parse().unwrap(), loopback]), Err(Forbidden(loopback)));
}

#[test]
fn a_text_that_is_no_network_is_named() {
    for text in ["", "10.0.0.0/33", "fd00::/129", "10.0.0.0/", "10.0.0.0/-1", "10.1/16", "host/8"] {
        let error = Guard::new(&AllowPrivate::Networks(vec![text.into()])).unwrap_err();
        assert!(error.to_string().contains(text), "{error}");
    }
    assert_eq!(
        "0.0.0.0/0".parse::<Network>().map(|all| all.contains(IpAddr::from([9; 4]))),
        Ok(true)
    );
}
