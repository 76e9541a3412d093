//! Addresses of sockets.

/// `struct sockaddr` as text: an address for IPv4 and IPv6, a path for a Unix socket. Machines of either byte order wrote it.
pub(super) fn socket_address(raw: &[u8]) -> Option<String> {
    let family = match [*raw.first()?, *raw.get(1)?] {
        [family, 0] | [0, family] => family,
        _ => return None,
    };
    match family {
        1 => {
            let path: Vec<u8> = raw
                .get(2..)?
                .iter()
                .copied()
                .take_while(|byte| *byte != 0)
                .collect();
            Some(String::from_utf8_lossy(&path).into_owned())
        }
        2 => {
            let octets: [u8; 4] = raw.get(4..8)?.try_into().ok()?;
            Some(std::net::Ipv4Addr::from(octets).to_string())
        }
        10 => {
            let octets: [u8; 16] = raw.get(8..24)?.try_into().ok()?;
            Some(std::net::Ipv6Addr::from(octets).to_string())
        }
        _ => None,
    }
}
