//! Databases written byte by byte, as MaxMind's format has them; read, replaced, damaged.
//! Source: MaxMind DB File Format Specification 2.0.

use super::*;
use std::net::Ipv4Addr;

/// What a record of the search tree leads to.
#[derive(Clone, Copy)]
enum Record {
    Nothing,
    Node(usize),
    Data(usize),
}

/// Returns a database that knows these networks of IPv4 by their country.
fn database(networks: &[(&str, u32, &str)]) -> Vec<u8> {
    let (mut nodes, mut data) = (vec![[Record::Nothing; 2]], Vec::new());
    for (address, bits, code) in networks {
        let address = address.parse::<Ipv4Addr>().unwrap().to_bits();
        let mut node = 0;
        for bit in 0..*bits {
            let side = (address >> (31 - bit) & 1) as usize;
            if bit + 1 == *bits {
                nodes[node][side] = Record::Data(data.len());
            } else if let Record::Node(next) = nodes[node][side] {
                node = next;
            } else {
                nodes.push([Record::Nothing; 2]);
                nodes[node][side] = Record::Node(nodes.len() - 1);
                node = nodes.len() - 1;
            }
        }
        // { country: { iso_code: CODE } }
        data.push(0b111_00001);
        text(&mut data, "country");
        data.push(0b111_00001);
        text(&mut data, "iso_code");
        text(&mut data, code);
    }
    let count = nodes.len();
    let mut bytes = Vec::new();
    for record in nodes.iter().flatten() {
        let value = match record {
            Record::Nothing => count,
            Record::Node(next) => *next,
            Record::Data(at) => count + 16 + at,
        };
        bytes.extend_from_slice(&u32::try_from(value).unwrap().to_be_bytes()[1..]);
    }
    bytes.extend_from_slice(&[0; 16]);
    bytes.extend_from_slice(&data);
    bytes.extend_from_slice(b"\xab\xcd\xefMaxMind.com");
    metadata(&mut bytes, count);
    bytes
}

fn metadata(bytes: &mut Vec<u8>, nodes: usize) {
    bytes.push(0b111_01001);
    for (name, value) in [
        ("binary_format_major_version", 2u16),
        ("binary_format_minor_version", 0),
        ("ip_version", 4),
        ("record_size", 24),
    ] {
        text(bytes, name);
        bytes.push(0b101_00010);
        bytes.extend_from_slice(&value.to_be_bytes());
    }
    text(bytes, "node_count");
    bytes.push(0b110_00100);
    bytes.extend_from_slice(&u32::try_from(nodes).unwrap().to_be_bytes());
    text(bytes, "build_epoch");
    bytes.extend_from_slice(&[0b000_00001, 2, 1]);
    text(bytes, "database_type");
    text(bytes, "Test-Country");
    text(bytes, "description");
    bytes.push(0b111_00000);
    text(bytes, "languages");
    bytes.extend_from_slice(&[0, 4]);
}

fn text(bytes: &mut Vec<u8>, text: &str) {
    bytes.push(0b010_00000 | u8::try_from(text.len()).unwrap());
    bytes.extend_from_slice(text.as_bytes());
}

fn place(database: &Database, address: &str) -> Place {
    database.place(address.parse().unwrap())
}

fn replace(path: &Path, bytes: &[u8]) {
    let next = path.with_extension("next");
    fs::write(&next, bytes).unwrap();
    fs::rename(next, path).unwrap();
}

#[test]
fn an_address_is_where_the_database_says_and_nowhere_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.mmdb");
    fs::write(&path, database(&[("192.0.2.0", 24, "FR"), ("198.51.100.0", 25, "be")])).unwrap();

    let known = Database::open(&path);

    assert_eq!(known.trouble(), None);
    for (address, expected) in [
        ("192.0.2.7", Place::Country(*b"FR")),
        ("198.51.100.1", Place::Country(*b"BE")),
        ("198.51.100.200", Place::Nowhere),
        ("203.0.113.1", Place::Nowhere),
        // A database of IPv4 knows nothing of IPv6.
        ("2001:db8::1", Place::Nowhere),
    ] {
        assert_eq!(place(&known, address), expected, "{address}");
    }
}

#[test]
fn a_file_that_comes_changes_or_breaks_is_noticed_and_what_was_good_stays() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.mmdb");
    let known = Database::open(&path);
    assert_eq!(place(&known, "192.0.2.7"), Place::NotAsked);
    assert!(known.trouble().unwrap().contains("c.mmdb"));

    replace(&path, &database(&[("192.0.2.0", 24, "FR")]));
    known.refresh();
    assert_eq!((place(&known, "192.0.2.7"), known.trouble()), (Place::Country(*b"FR"), None));

    replace(&path, &database(&[("192.0.2.0", 24, "CH")]));
    known.refresh();
    assert_eq!(place(&known, "192.0.2.7"), Place::Country(*b"CH"));

    replace(&path, b"no database");
    known.refresh();
    assert_eq!(place(&known, "192.0.2.7"), Place::Country(*b"CH"));
    assert!(known.trouble().unwrap().contains("the one read before stays in use"));
}

#[test]
fn a_damaged_database_is_refused_or_knows_less_and_never_ends_the_edge() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.mmdb");
    let whole = database(&[("192.0.2.0", 24, "FR")]);
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 0xff;
        for bytes in [&damaged[..], &whole[..at]] {
            fs::write(&path, bytes).unwrap();
            let known = Database::open(&path);
            let _ = (place(&known, "192.0.2.7"), place(&known, "2001:db8::1"), known.trouble());
        }
    }
}

#[test]
fn tables_that_name_one_file_share_it() {
    let mut databases = Databases::default();
    let path = Path::new("/no/such.mmdb");

    let (one, other) = (databases.of(path), databases.of(path));

    assert!(Arc::ptr_eq(&one, &other));
    drop((one, other));
    assert!(databases.all().is_empty());
}
