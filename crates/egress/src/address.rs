//! Which addresses are the world's and which are somebody's own (RFC 6890 and the IANA special-purpose registries).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Networks of IPv4 that are nobody's public address: address and length of the prefix.
const OWN_V4: &[(Ipv4Addr, u32)] = &[
    (Ipv4Addr::new(0, 0, 0, 0), 8),       // this network
    (Ipv4Addr::new(10, 0, 0, 0), 8),      // private
    (Ipv4Addr::new(100, 64, 0, 0), 10),   // carrier-grade NAT
    (Ipv4Addr::new(127, 0, 0, 0), 8),     // loopback
    (Ipv4Addr::new(169, 254, 0, 0), 16),  // link-local, and clouds' metadata
    (Ipv4Addr::new(172, 16, 0, 0), 12),   // private
    (Ipv4Addr::new(192, 0, 0, 0), 24),    // protocol assignments
    (Ipv4Addr::new(192, 0, 2, 0), 24),    // documentation
    (Ipv4Addr::new(192, 88, 99, 0), 24),  // 6to4 relays
    (Ipv4Addr::new(192, 168, 0, 0), 16),  // private
    (Ipv4Addr::new(198, 18, 0, 0), 15),   // benchmarks
    (Ipv4Addr::new(198, 51, 100, 0), 24), // documentation
    (Ipv4Addr::new(203, 0, 113, 0), 24),  // documentation
    (Ipv4Addr::new(224, 0, 0, 0), 3),     // multicast, reserved, broadcast
];

/// Parts of IPv6's global unicast space (2000::/3) that are no public addresses.
const OWN_V6: &[(Ipv6Addr, u32)] = &[
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23), // protocol assignments, Teredo
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32), // documentation
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16), // 6to4: hides any IPv4 address
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20), // documentation
];

/// Is this an address of the public internet? Addresses that carry one of IPv4 (mapped, NAT64) are judged by that.
#[must_use]
pub fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => !OWN_V4.iter().any(|(net, bits)| {
            let mask = u32::MAX << (32 - bits);
            ip.to_bits() & mask == net.to_bits()
        }),
        IpAddr::V6(ip) => match carried(ip) {
            Some(inner) => is_public(IpAddr::V4(inner)),
            None => {
                let within = |net: Ipv6Addr, bits: u32| {
                    ip.to_bits() & (u128::MAX << (128 - bits)) == net.to_bits()
                };
                within(Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3)
                    && !OWN_V6.iter().any(|(net, bits)| within(*net, *bits))
            }
        },
    }
}

/// The address of IPv4 in `::ffff:0:0/96` or `64:ff9b::/96`.
fn carried(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    if let Some(mapped) = ip.to_ipv4_mapped() {
        return Some(mapped);
    }
    let [a, b, rest @ ..] = ip.segments();
    let [0, 0, 0, 0, _, _] = rest else { return None };
    let [.., w, x, y, z] = ip.octets();
    (a == 0x64 && b == 0xff9b).then(|| Ipv4Addr::new(w, x, y, z))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_addresses_are_not_public() {
        let own = "127.0.0.1 127.9.9.9 10.1.2.3 172.16.0.1 172.31.255.255 192.168.1.1 169.254.169.254 100.64.0.1 \
                   100.127.255.255 0.0.0.0 224.0.0.1 240.0.0.1 255.255.255.255 198.19.0.1 192.0.0.8 ::1 :: fc00::1 \
                   fd12::1 fe80::1 ff02::1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 64:ff9b::10.0.0.1 2001:db8::1 2002:7f00:1:: \
                   2001::1 ::127.0.0.1 100::1";
        for ip in own.split_whitespace() {
            assert!(!is_public(ip.parse().unwrap()), "{ip}");
        }
    }

    #[test]
    fn the_worlds_addresses_are() {
        let world = "1.1.1.1 9.255.255.255 11.0.0.1 100.63.255.255 100.128.0.0 172.15.0.1 172.32.0.1 192.167.0.1 \
                     223.255.255.255 2606:4700::1111 2a00::1 64:ff9b::1.1.1.1 ::ffff:1.1.1.1";
        for ip in world.split_whitespace() {
            assert!(is_public(ip.parse().unwrap()), "{ip}");
        }
    }
}
