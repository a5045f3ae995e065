//! mosquitto, by its Debian package: one thread, TCP, quality of service 0, or 1 with persistent
//! sessions. Its WebSocket listener binds every interface, so it is not used.

use std::fs;
use std::net::SocketAddrV4;
use std::process::Command;
use std::rc::Rc;

use super::child::{self, Child};
use super::{Form, Peer, Promise, Setting, program};
use crate::dialect::Dialect;
use crate::dialect::mqtt::Mqtt;

pub(super) struct Mosquitto {
    child: Child,
    address: SocketAddrV4,
    acknowledged: bool,
}

impl Mosquitto {
    pub(super) fn start(setting: &Setting) -> anyhow::Result<Self> {
        let binary = program("mosquitto", &["/usr/sbin/mosquitto"])?;
        let address = child::free_address()?;
        let folder = child::folder("mosquitto")?;
        let config = folder.join("mosquitto.conf");
        fs::write(&config, config_text(address, &folder.display().to_string()))?;
        let mut command = Command::new(binary);
        command.arg("-c").arg(config);
        let mut child = Child::start("mosquitto", &folder, setting.core, &mut command)?;
        child.until(|| child::listens(address))?;
        Ok(Self { child, address, acknowledged: setting.form == Form::Full })
    }
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

impl Peer for Mosquitto {
    fn name(&self) -> &str {
        "mosquitto"
    }

    fn promise(&self) -> Promise {
        if self.acknowledged { Promise::Taken } else { Promise::Nothing }
    }

    fn process_id(&self) -> u32 {
        self.child.id()
    }

    fn address(&self) -> SocketAddrV4 {
        self.address
    }

    fn dialect(&self) -> Rc<dyn Dialect> {
        Rc::new(Mqtt::new(self.acknowledged))
    }
}
