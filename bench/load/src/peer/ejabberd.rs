//! ejabberd, by its Debian package: XMPP over WebSocket; in the full form with stream management
//! and an archive of every message. It acknowledges a message once it has routed it, before
//! anything is on disk.
//!
//! One scheduler, for its one core. The archive is in Mnesia, which needs nothing beside the
//! package.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::ops::Range;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};

use super::foreign::Foreign;
use super::{Form, Promise, Setting, program};
use crate::dialect::xmpp::{HOST, PASSWORD, Xmpp, local_part};

/// Where Debian puts the libraries of ejabberd.
const LIBRARIES: &str = "/usr/lib/x86_64-linux-gnu";
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) fn start(setting: &Setting) -> anyhow::Result<Foreign> {
    program("ejabberd", &["/usr/sbin/ejabberdctl"])?;
    let erlang = program("erl", &["/usr/bin/erl"])?;
    let kept = setting.form == Form::Full;
    let promise = if kept { Promise::Taken } else { Promise::Nothing };
    let server =
        Foreign::start("ejabberd", promise, Xmpp::new(kept), setting.core, |address, folder| {
            let config = folder.join("ejabberd.yml");
            fs::write(&config, config_text(address, kept))?;
            Ok(command(&erlang, &config, folder))
        })?;
    Ok(server.admitting(register))
}

fn command(erlang: &Path, config: &Path, folder: &Path) -> Command {
    let mut command = Command::new(erlang);
    command
        .env("EJABBERD_CONFIG_PATH", config)
        .env("EJABBERD_LOG_PATH", folder.join("ejabberd.log"))
        .env("ERL_LIBS", LIBRARIES)
        .env("ERL_CRASH_DUMP_BYTES", "0")
        .env("HOME", folder)
        .current_dir(folder)
        .args(["-noinput", "+K", "true", "+P", "4000000", "+S", "1"])
        .args(["-mnesia", "dir"])
        .arg(format!("\"{}\"", folder.join("mnesia").display()))
        .args(["-s", "ejabberd"]);
    command
}

/// No shaper and long patience: a limit would be what is measured.
fn config_text(address: SocketAddrV4, kept: bool) -> String {
    let mut text = format!(
        "hosts: [{HOST}]
loglevel: error
auth_method: internal
auth_password_format: plain
listen:
  - port: {}
    ip: {}
    module: ejabberd_http
    backlog: 4096
    request_handlers:
      /api: mod_http_api
      /ws: ejabberd_http_ws
api_permissions:
  loopback:
    who:
      ip: 127.0.0.0/8
    what: [register]
websocket_ping_interval: 3600
websocket_timeout: 3600
modules:
",
        address.port(),
        address.ip()
    );
    text.push_str(if kept {
        "  mod_offline: {}
  mod_mam:
    default: always
    assume_mam_usage: true
  mod_stream_mgmt:
    max_ack_queue: 100000
"
    } else {
        "  mod_disco: {}\n"
    });
    text
}

/// Makes the users, by the server's own interface.
fn register(server: SocketAddrV4, users: Range<u32>) -> anyhow::Result<()> {
    for user in users {
        let name = local_part(user);
        let body =
            format!("{{\"user\":\"{name}\",\"host\":\"{HOST}\",\"password\":\"{PASSWORD}\"}}");
        let mut stream = TcpStream::connect(server)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let request = format!(
            "POST /api/register HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).context("asking ejabberd for a user")?;
        ensure!(answer.starts_with("HTTP/1.1 200"), "ejabberd makes no user {name}: {answer}");
    }
    Ok(())
}
