//! The PROXY protocol, versions 1 and 2 (<https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>): what a proxy says of
//! its client before the client's own bytes, TLS's among them.
//!
//! Where a header ends is found here, so that no byte behind it is taken and none is kept beyond a bound; what it says is read by
//! `ppp`, from the whole header.
//!
//! Without: whether the proxy is to be believed; that is decided before it is asked.

use std::net::{IpAddr, SocketAddr};

use ppp::{v1, v2};

/// "a 107-byte buffer is enough to store all the line" (2.1), with its end.
const V1_BYTES_MAX: usize = 107;
/// How a line of version 1 begins.
const V1_PREFIX: &[u8] = b"PROXY ";
/// Signature, version and command, family and protocol, length (2.2).
const V2_HEAD_BYTES: usize = 16;

/// Takes in a header, in whatever pieces it comes.
#[derive(Debug, Default)]
pub struct Reader {
    bytes: Vec<u8>,
}

/// How far a header has come.
#[derive(Debug, PartialEq, Eq)]
pub enum Progress {
    /// It goes on; all input was taken.
    Partial,
    /// It is whole: so much of this input was its end.
    Complete {
        /// Bytes of the input.
        consumed: usize,
        /// Whom it tells of; none: the proxy speaks for itself (`LOCAL`, as health checks do), or names no address
        /// (`UNKNOWN`, a Unix socket).
        client: Option<SocketAddr>,
    },
    /// These bytes begin no header. Those of earlier input are given back; this input is not taken.
    Absent {
        /// What came before, and belongs to the client.
        kept: Vec<u8>,
    },
}

/// Bytes that begin a header and are none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    /// Larger than is taken.
    #[error("the PROXY header has {bytes} bytes, more than proxy_header_bytes_max = {bytes_max}")]
    TooLarge {
        /// What it announces.
        bytes: usize,
        /// What is taken.
        bytes_max: usize,
    },
    /// A line of version 1 without an end.
    #[error("the line that begins with PROXY has no end within 107 bytes")]
    Endless,
    /// Anything else, in the reader's words.
    #[error("the PROXY header is wrong: {0}")]
    Wrong(String),
}

impl Reader {
    /// Whether nothing has come.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Takes input as far as the header goes.
    ///
    /// # Errors
    /// What is wrong with a header that has begun.
    pub fn feed(&mut self, input: &[u8], bytes_max: usize) -> Result<Progress, ProxyError> {
        let before = self.bytes.len();
        // No header needs more to be told where it ends.
        let looked_at = input.len().min((V1_BYTES_MAX.max(bytes_max) + 1).saturating_sub(before));
        self.bytes.extend_from_slice(&input[..looked_at]);
        let Some(end) = self.end(bytes_max)? else {
            let is_header = begins(&self.bytes, V1_PREFIX) || begins(&self.bytes, v2::PROTOCOL_PREFIX);
            if is_header {
                return Ok(Progress::Partial);
            }
            self.bytes.truncate(before);
            return Ok(Progress::Absent { kept: std::mem::take(&mut self.bytes) });
        };
        let client = read(&self.bytes[..end])?;
        self.bytes = Vec::new();
        Ok(Progress::Complete { consumed: end - before, client })
    }

    /// Where the header ends, once that much is there.
    fn end(&self, bytes_max: usize) -> Result<Option<usize>, ProxyError> {
        let bytes = &self.bytes[..];
        if bytes.starts_with(V1_PREFIX) {
            let line = &bytes[..bytes.len().min(V1_BYTES_MAX)];
            return match memchr::memmem::find(line, b"\r\n") {
                Some(at) => Ok(Some(at + 2)),
                None if line.len() == V1_BYTES_MAX => Err(ProxyError::Endless),
                None => Ok(None),
            };
        }
        if !bytes.starts_with(v2::PROTOCOL_PREFIX) || bytes.len() < V2_HEAD_BYTES {
            return Ok(None);
        }
        // What follows the addresses (TLVs) counts, and is skipped.
        let whole = V2_HEAD_BYTES + usize::from(u16::from_be_bytes([bytes[14], bytes[15]]));
        if whole > bytes_max {
            return Err(ProxyError::TooLarge { bytes: whole, bytes_max });
        }
        Ok((bytes.len() >= whole).then_some(whole))
    }
}

/// Whether these bytes are the beginning, or what came of it so far.
fn begins(bytes: &[u8], beginning: &[u8]) -> bool {
    bytes.starts_with(beginning) || beginning.starts_with(bytes)
}

/// Whom a whole header tells of.
fn read(header: &[u8]) -> Result<Option<SocketAddr>, ProxyError> {
    let of = |address: IpAddr, port| Some(SocketAddr::new(address.to_canonical(), port));
    if header.starts_with(V1_PREFIX) {
        let header = v1::Header::try_from(header).map_err(|error| ProxyError::Wrong(error.to_string()))?;
        return Ok(match header.addresses {
            v1::Addresses::Tcp4(ip) => of(ip.source_address.into(), ip.source_port),
            v1::Addresses::Tcp6(ip) => of(ip.source_address.into(), ip.source_port),
            v1::Addresses::Unknown => None,
        });
    }
    // 2.2: with LOCAL "the receiver must [...] discard the protocol block including the family which is ignored".
    if header[12] == 0x20 {
        return Ok(None);
    }
    let header = v2::Header::try_from(header).map_err(|error| ProxyError::Wrong(error.to_string()))?;
    Ok(match header.addresses {
        v2::Addresses::IPv4(ip) => of(ip.source_address.into(), ip.source_port),
        v2::Addresses::IPv6(ip) => of(ip.source_address.into(), ip.source_port),
        v2::Addresses::Unix(_) | v2::Addresses::Unspecified => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 300;

    /// As the specification's 2.2 lays it out, by hand.
    fn v2(command: u8, family: u8, addresses: &[u8], tlvs: &[u8]) -> Vec<u8> {
        let mut bytes = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
        bytes.extend([0x20 | command, family]);
        bytes.extend(u16::try_from(addresses.len() + tlvs.len()).expect("short").to_be_bytes());
        [&bytes[..], addresses, tlvs].concat()
    }

    fn headers() -> Vec<(Vec<u8>, Option<SocketAddr>)> {
        let of = |text: &str| Some(text.parse().expect("an address"));
        let v4 = [192, 0, 2, 9, 127, 0, 0, 1, 0x12, 0x34, 0, 80];
        let v6 = [&[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7][..], &[0; 16], &[1, 0], &[0, 80]].concat();
        vec![
            (b"PROXY TCP4 192.0.2.9 127.0.0.1 4660 80\r\n".to_vec(), of("192.0.2.9:4660")),
            (b"PROXY TCP6 2001:db8::7 ::1 256 80\r\n".to_vec(), of("[2001:db8::7]:256")),
            (b"PROXY TCP6 ::ffff:192.0.2.9 ::1 256 80\r\n".to_vec(), of("192.0.2.9:256")),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (b"PROXY UNKNOWN whatever stands here\r\n".to_vec(), None),
            (v2(1, 0x11, &v4, &[]), of("192.0.2.9:4660")),
            (v2(1, 0x11, &v4, &[0xea, 0, 3, 1, 2, 3]), of("192.0.2.9:4660")),
            (v2(1, 0x21, &v6, &[]), of("[2001:db8::7]:256")),
            (v2(1, 0x31, &[0; 216], &[]), None),
            (v2(1, 0, &[], &[]), None),
            (v2(0, 0, &[], &[]), None),
            (v2(0, 0x77, &[1, 2, 3], &[]), None),
        ]
    }

    #[test]
    fn every_header_in_every_two_pieces_and_no_byte_behind_it() {
        for (header, client) in headers() {
            let stream = [&header[..], b"GET / HTTP/1.1\r\n\r\n"].concat();
            for cut in 0..header.len() {
                let mut reader = Reader::default();
                assert_eq!(reader.feed(&stream[..cut], MAX), Ok(Progress::Partial), "{header:?} cut at {cut}");
                let consumed = header.len() - cut;
                assert_eq!(reader.feed(&stream[cut..], MAX), Ok(Progress::Complete { consumed, client }), "{header:?} at {cut}");
            }
        }
    }

    #[test]
    fn what_is_no_header_is_given_back() {
        for stream in [&b"GET / HTTP/1.1\r\n"[..], b"PROPFIND / HTTP/1.1\r\n", b"\r\n\r\n\0\r\nQUIET", &[0x16, 3, 1, 2, 0]] {
            for cut in 0..stream.len() {
                let mut reader = Reader::default();
                let (first, second) = stream.split_at(cut);
                match reader.feed(first, MAX).expect("it is no header") {
                    Progress::Partial => {
                        assert_eq!(reader.feed(second, MAX), Ok(Progress::Absent { kept: first.to_vec() }), "cut at {cut}");
                    }
                    other => assert_eq!(other, Progress::Absent { kept: Vec::new() }, "cut at {cut}"),
                }
            }
        }
    }

    #[test]
    fn what_is_wrong_is_said_and_nothing_is_kept_beyond_the_bound() {
        let said = |bytes: &[u8]| Reader::default().feed(bytes, MAX).expect_err("it is wrong").to_string();
        assert!(said(&v2(1, 0x11, &[0; 12], &[0; 290])).contains("318 bytes, more than proxy_header_bytes_max = 300"));
        assert!(said(&[&b"PROXY TCP4 "[..], &[b'1'; 200]].concat()).contains("within 107 bytes"));
        for wrong in [
            b"PROXY TCP4 192.0.2.256 127.0.0.1 1 2\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.1\r\n".to_vec(),
            b"PROXY TCP5 192.0.2.1 127.0.0.1 1 2\r\n".to_vec(),
            b"PROXY \xff\r\n".to_vec(),
            v2(1, 0x11, &[1, 2], &[]),
            v2(2, 0x11, &[0; 12], &[]),
            v2(1, 0x41, &[0; 12], &[]),
        ] {
            assert!(said(&wrong).starts_with("the PROXY header is wrong: "), "{wrong:?}");
        }
        let mut reader = Reader::default();
        let long = v2(1, 0x11, &[0; 12], &[0; MAX - 28]);
        assert_eq!(reader.feed(&long[..long.len() - 1], MAX), Ok(Progress::Partial));
        assert!(reader.bytes.len() <= MAX);
    }
}
