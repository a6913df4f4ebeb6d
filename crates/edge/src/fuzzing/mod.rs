//! Says what holds for any bytes of a client, any table and any file of tables. Built for `script/test` and `script/fuzz` only.
//! `talk` sends bytes through what serves real clients; `strict` reads the same bytes by the letter of RFC 9112.

mod strict;
mod talk;

use crate::store::{self, Record};
use crate::tables::Tables;
use manifest::edge::EdgeTable;
use strict::{Stop, strict};
use talk::{Reader, Taken};

/// What the edge takes from a client's bytes is what a strict reader takes from them, and what it passes on can be
/// read in one way only.
///
/// # Panics
///
/// Where that does not hold.
pub fn head(input: &[u8]) {
    let seen = talk::serve(input, Reader::Edge);
    same_by_hyper(input, &seen);
    if input.starts_with(b"PRI ") {
        return;
    }
    let (requests, stop) = strict(input);
    for (number, taken) in seen.iter().enumerate() {
        let Some(request) = requests.get(number) else {
            match stop {
                Stop::Refused(why) => panic!("request {number} was taken, and {why}: {taken:?}"),
                // No part of it may be taken for a whole.
                Stop::Cut | Stop::BadBody => {
                    assert!(!taken.whole, "request {number} has no end and was taken: {taken:?}");
                }
            }
            return;
        };
        assert_eq!(taken.method, request.method, "method of request {number}");
        if let (Some(target), true) = (&request.target, taken.target.starts_with('/')) {
            assert_eq!(
                taken.target.split('#').next(),
                target.split('#').next(),
                "target of request {number}"
            );
        }
        assert_eq!(taken.headers, request.headers, "headers of request {number}");
        if taken.whole {
            assert_eq!(taken.body, request.body, "body of request {number}");
        }
        taken.onward_is_clear();
    }
}

/// What the edge reads itself, it reads as hyper would.
fn same_by_hyper(input: &[u8], seen: &[Taken]) {
    let by_hyper = talk::serve(input, Reader::Hyper);
    assert_eq!(seen.len(), by_hyper.len(), "{seen:?}, and hyper {by_hyper:?}");
    for (mine, hypers) in seen.iter().zip(&by_hyper) {
        assert!(mine.says(hypers), "{mine:?}, and hyper {hypers:?}");
    }
}

/// A file of a table is taken only with the checksum of what it holds, and read as what was written.
///
/// # Panics
///
/// Where that does not hold.
pub fn table_file(input: &[u8]) {
    if let Ok(record) = store::decode(input) {
        let text = std::str::from_utf8(input).expect("a file that was read is text");
        let (head, body) = text.split_once('\n').expect("a file that was read has a first line");
        assert_eq!(head, format!("{}{}", store::FORMAT, store::checksum(body.as_bytes())));
        written_again(&record);
    }
    // With the right checksum anything may stand behind it.
    let body = input.splitn(2, |byte| *byte == b'\n').last().unwrap_or_default();
    let mut file = format!("{}{}\n", store::FORMAT, store::checksum(body)).into_bytes();
    file.extend_from_slice(body);
    if let Ok(record) = store::decode(&file) {
        written_again(&record);
        let (tables, complaints) = Tables::restore(vec![record.clone(), record]);
        assert!(tables.targets().count() <= 1 && complaints.is_empty(), "{complaints:?}");
        drop(tables.routes());
    }
}

fn written_again(record: &Record) {
    let bytes = store::encode(record).expect("a record that was read can be written");
    assert_eq!(store::decode(&bytes).ok().as_ref(), Some(record));
}

/// A table the engine sends is refused, or serves: its routes can be built and asked.
///
/// # Panics
///
/// Where that does not hold.
pub fn table(input: &[u8]) {
    let Ok(table) = serde_json::from_slice::<EdgeTable>(input) else { return };
    let mut tables = Tables::default();
    if tables.check(&table).is_err() {
        return;
    }
    tables.put(table.clone());
    assert_eq!(tables.generation(&table.routes.target), Some(table.generation));
    let routes = tables.routes();
    for host in table.routes.hosts.iter().map(String::as_str).chain(["", "a.example"]) {
        for path in table.routes.paths.iter().chain(&table.routes.templates).map(String::as_str).chain(["/"])
        {
            if let Some(place) = routes.find(host, path) {
                assert_eq!(place.target.routes().target, table.routes.target);
                let _ = (place.inner(path).len(), place.template.as_deref());
            }
        }
    }
    // The same again is no conflict with itself.
    assert!(tables.check(&table).is_ok());
}

#[cfg(test)]
mod tests {
    use super::*;
    use noise::Target;

    const HEADS: &[&str] = &[
        "GET / HTTP/1.1\r\n",
        "POST /a?b HTTP/1.1\r\n",
        "GET http://a/ HTTP/1.1\r\n",
        " HTTP/1.0\r\n",
        "Host: a\r\n",
        "Content-Length: 4\r\n",
        "Content-Length: 0\r\n",
        "Transfer-Encoding: chunked\r\n",
        "transfer-encoding: gzip, chunked\r\n",
        "Connection: close\r\n",
        "Connection: upgrade\r\nUpgrade: websocket\r\n",
        "Expect: 100-continue\r\n",
        "TE: trailers\r\n",
        "Cookie: a=b\r\n",
        "\r\n\r\n",
        "\r\n",
        "\n",
        "\r",
        "\0",
        " ",
        "\t",
        ":",
        ",",
        "4\r\nabcd\r\n",
        "0\r\n\r\n",
        "0\r\nX: y\r\n\r\n",
        "A: b\n\n",
        ";x=y",
        "ffffffffffffffff",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ];
    const TABLES: &[&str] = &[
        "\"",
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "null",
        "\"/\"",
        "\"/{rest...}\"",
        "\"*.\"",
        "\"stable\":",
        "\"weight\":100",
        "\"127.0.0.1:1\"",
        "\\u0000",
        "\\n",
    ];

    #[test]
    fn any_bytes_of_a_client_are_read_as_a_strict_reader_reads_them_or_refused() {
        Target { name: "edge_head", words: HEADS, runs: 6_000 }.hold(head);
    }

    #[test]
    fn any_file_of_a_table_is_taken_only_with_its_checksum() {
        Target { name: "edge_table_file", words: TABLES, runs: 6_000 }.hold(table_file);
    }

    #[test]
    fn any_table_is_refused_or_serves() {
        Target { name: "edge_table", words: TABLES, runs: 6_000 }.hold(table);
    }
}
