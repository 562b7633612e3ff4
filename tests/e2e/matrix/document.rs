//! The page that shows the cells.

use std::env;
use std::fs;

use crtmp_tests::root;

use super::client::Client;
use super::roads::ROADS;
use super::table::{CLIENTS, SCHEMES, Scheme, WAYS, Way, verdict};

const DOCUMENT: &str = "docs/protocol-matrix.md";

const BEFORE: &str = "\
# Clients and schemes

Which client publishes and plays by which scheme. Each *yes* is tried by a test that compares what arrived with what was
sent, packet by packet, and each *no* by one that demands the error that is named; this page is made from the table of
these tests (`tests/e2e/matrix`).
";

const ROADS_BEFORE: &str = "
## By way of others

The same, with a program between the client and a server of four workers. Requests of a session come there by several
connections, to several workers.
";

const AFTER: &str = "
What clients want that the table does not show:

- ffmpeg 9 looks at certificates, `rtmp2src` and `rtmp2sink` do, too: the tests say `-tls_verify 0` and
  `tls-validation-flags=0`, since their authority is nobody's. ffmpeg 5.1 and librtmp do not look.
- librtmp fails over a ticket behind the handshake of TLS 1.3: by `rtmps` it says `handshake failed`, by `rtmpts` it
  crashes (SIGSEGV in `RTMP_Connect1`). The server gives none unless `tlsTickets` says so; stunnel is told to give none
  by `sessionResume = no`, or by `sslVersionMax = TLSv1.2`.
- librtmp looks for `Content-Length` in these very letters: haproxy needs `h1-case-adjust content-length Content-Length`
  and `option h1-case-adjust-bogus-client`.
";

#[test]
fn shows_the_table() {
    let file = root().join(DOCUMENT);
    let made = document();
    if env::var_os("UPDATE_DOCS").is_some() {
        return fs::write(&file, made).expect("the document can be written");
    }
    assert_eq!(fs::read_to_string(&file).unwrap_or_default(), made, "UPDATE_DOCS=1 writes it anew");
}

fn document() -> String {
    let mut notes = Vec::new();
    let mut text = String::from(BEFORE);
    let schemes: Vec<_> = SCHEMES.iter().map(|scheme| (format!("`{}`", scheme.name()), *scheme)).collect();
    table(&mut text, &schemes, &mut notes);
    text.push_str(ROADS_BEFORE);
    let road =
        |road: &super::roads::Road| (format!("`{}`, {}", road.scheme().name(), road.name()), road.scheme());
    table(&mut text, &ROADS.iter().map(road).collect::<Vec<_>>(), &mut notes);
    text.push_str("\n## Why not, and what else to know\n\n");
    for (index, note) in notes.iter().enumerate() {
        text.push_str(&format!("{}. {note}\n", index + 1));
    }
    text.push_str(AFTER);
    text
}

/// A table with these columns, each with its heading and the scheme that clients speak there.
fn table(text: &mut String, columns: &[(String, Scheme)], notes: &mut Vec<&'static str>) {
    text.push_str("\n| Client | |");
    for (heading, _) in columns {
        text.push_str(&format!(" {heading} |"));
    }
    text.push_str("\n|---|---|");
    text.push_str(&"---|".repeat(columns.len()));
    for client in CLIENTS {
        for way in WAYS {
            text.push_str(&format!("\n| {} | {} |", client.name(), way.name()));
            for (_, scheme) in columns {
                text.push_str(&format!(" {} |", cell(client, *scheme, way, notes)));
            }
        }
    }
    text.push('\n');
}

fn cell(client: Client, scheme: Scheme, way: Way, notes: &mut Vec<&'static str>) -> String {
    let Err(no) = verdict(client, scheme, way) else { return "yes".into() };
    let known = notes.iter().position(|note| *note == no.why);
    let number = known.unwrap_or_else(|| {
        notes.push(no.why);
        notes.len() - 1
    });
    format!("no ({})", number + 1)
}
