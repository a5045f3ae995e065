//! mosquitto, by its Debian package: one thread, TCP, quality of service 0, or 1 with persistent
//! sessions. Its WebSocket listener binds every interface, so it is not used.

use std::fs;
use std::net::SocketAddrV4;
use std::process::Command;

use super::foreign::Foreign;
use super::{Form, Promise, Setting, program};
use crate::dialect::mqtt::Mqtt;

pub(super) fn start(setting: &Setting) -> anyhow::Result<Foreign> {
    let binary = program("mosquitto", &["/usr/sbin/mosquitto"])?;
    let acknowledged = setting.form == Form::Full;
    let promise = if acknowledged { Promise::Taken } else { Promise::Nothing };
    let dialect = Mqtt::new(acknowledged, setting.to_all);
    Foreign::start("mosquitto", promise, dialect, setting.core, |address, folder| {
        let config = folder.join("mosquitto.conf");
        fs::write(&config, config_text(address, &folder.display().to_string()))?;
        let mut command = Command::new(binary);
        command.arg("-c").arg(config);
        Ok(command)
    })
}

/// No limit on what may wait for one client: a limit would drop, and dropping is a fault here.
fn config_text(address: SocketAddrV4, folder: &str) -> String {
    format!(
        "listener {} {}\nallow_anonymous true\nset_tcp_nodelay true\nuser root\n\
         max_queued_messages 0\nmax_inflight_messages 0\npersistence true\n\
         persistence_location {folder}/\nlog_type error\nlog_type warning\n",
        address.port(),
        address.ip()
    )
}
