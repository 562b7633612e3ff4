//! The table of services that is shown at the start.

use std::net::SocketAddr;

use comfy_table::Table;
use comfy_table::presets::ASCII_FULL_CONDENSED;

/// One acceptor that is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Service {
    /// What carries it: `tcp` or `udp`.
    pub(crate) carrier: &'static str,
    /// Where it listens; the real port, not 0.
    pub(crate) address: SocketAddr,
    /// The name of its chain.
    pub(crate) chain: String,
    /// The application to which it belongs.
    pub(crate) application: String,
}

/// The services in a box, one a line; no line end after the last.
pub(crate) fn table(services: &[Service]) -> String {
    let mut table = Table::new();
    table.load_style(ASCII_FULL_CONDENSED);
    table.set_header(["c", "ip", "port", "protocol stack name", "application name"]);
    for service in services {
        table.add_row([
            service.carrier,
            &service.address.ip().to_string(),
            &service.address.port().to_string(),
            &service.chain,
            &service.application,
        ]);
    }
    let body = table.to_string();
    let width = body.lines().next().map_or(0, |line| line.chars().count()).saturating_sub(2);
    format!("+{}+\n|{:^width$}|\n{body}", "-".repeat(width), "Services")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_line_for_each_service() {
        let service = |address: &str, application: &str| Service {
            carrier: "tcp",
            address: address.parse().unwrap(),
            chain: "inboundRtmp".into(),
            application: application.into(),
        };
        insta::assert_snapshot!(
            table(&[service("0.0.0.0:1935", "appselector"), service("[::1]:40123", "flvplayback")]),
            @"
        +----------------------------------------------------------------+
        |                            Services                            |
        +-----+---------+-------+---------------------+------------------+
        | c   | ip      | port  | protocol stack name | application name |
        +================================================================+
        | tcp | 0.0.0.0 | 1935  | inboundRtmp         | appselector      |
        | tcp | ::1     | 40123 | inboundRtmp         | flvplayback      |
        +-----+---------+-------+---------------------+------------------+
        "
        );
    }

    #[test]
    fn no_services_are_a_table_too() {
        assert!(table(&[]).contains("application name"));
    }
}
