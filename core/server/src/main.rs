//! The program `crtmpserver`.
#![allow(dead_code)]

mod cli;
mod logging;
mod lua;
mod process;
mod services;

use std::process::ExitCode;

use crtmp_host::config::ChainNames;

/// The chains of an acceptor: those that are served, and those of crtmpserver that will be.
const CHAINS: ChainNames<'_> = ChainNames {
    served: &["inboundRtmp"],
    later: &[
        ("inboundRtmps", "TLS"),
        ("inboundRtmpt", "RTMP over HTTP"),
        ("inboundTcpTs", "MPEG-TS input"),
        ("inboundUdpTs", "MPEG-TS input"),
        ("inboundRtsp", "RTSP"),
        ("inboundLiveFlv", "live FLV input"),
        ("inboundXmlVariant", "variants"),
        ("inboundBinVariant", "variants"),
        ("inboundJsonVariant", "variants"),
        ("inboundHttpXmlVariant", "variants over HTTP"),
        ("inboundHttpBinVariant", "variants over HTTP"),
        ("inboundHttpJsonVariant", "variants over HTTP"),
        ("inboundHttpsXmlVariant", "variants over HTTPS"),
        ("inboundHttpsBinVariant", "variants over HTTPS"),
        ("inboundHttpsJsonVariant", "variants over HTTPS"),
        ("inboundJsonCli", "the command line interface over JSON"),
        ("inboundHttpJsonCli", "the command line interface over HTTP"),
    ],
};

fn main() -> ExitCode {
    let cli = match cli::Cli::read(std::env::args_os()) {
        Ok(cli) => cli,
        Err(exit) if exit.code == 0 => {
            print!("{}", exit.text);
            return ExitCode::SUCCESS;
        }
        Err(exit) => {
            eprint!("{}", exit.text);
            return ExitCode::from(exit.code);
        }
    };
    match lua::load(&cli.file, CHAINS) {
        Ok(configuration) => {
            if cli.check {
                print!("{}", lua::show(&configuration));
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
