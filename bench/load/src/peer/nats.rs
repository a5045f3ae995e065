//! nats-server: core for plain relays; for full ones JetStream on file with `sync_interval:
//! always`, the only setting that promises what ringpost does.

use std::fs;
use std::net::SocketAddrV4;
use std::process::Command;
use std::rc::Rc;

use super::child::{self, Child};
use super::{Form, Peer, Promise, Setting, program};
use crate::dialect::Dialect;
use crate::dialect::nats::Nats;

pub(super) struct NatsServer {
    child: Child,
    address: SocketAddrV4,
    stored: bool,
}

impl NatsServer {
    pub(super) fn start(setting: &Setting) -> anyhow::Result<Self> {
        let binary = program("nats-server", &["target/peers/bin/nats-server"])?;
        let address = child::free_address()?;
        let folder = child::folder("nats")?;
        let stored = setting.form == Form::Full;
        let config = folder.join("nats.conf");
        fs::write(&config, config_text(address, stored, &folder.display().to_string()))?;
        let mut command = Command::new(binary);
        // It has one core; more threads of the scheduler would only fight for it.
        command.env("GOMAXPROCS", "1").arg("-c").arg(config);
        let mut child = Child::start("nats", &folder, setting.core, &mut command)?;
        child.until(|| child::listens(address))?;
        Ok(Self { child, address, stored })
    }
}

fn config_text(address: SocketAddrV4, stored: bool, folder: &str) -> String {
    let mut text =
        format!("listen: {address}\nmax_connections: 2000000\nwrite_deadline: \"60s\"\n");
    if stored {
        text.push_str(&format!(
            "jetstream {{ store_dir: \"{folder}/store\", sync_interval: always }}\n"
        ));
    }
    text
}

impl Peer for NatsServer {
    fn name(&self) -> &str {
        "nats"
    }

    fn promise(&self) -> Promise {
        if self.stored { Promise::Kept } else { Promise::Nothing }
    }

    fn process_id(&self) -> u32 {
        self.child.id()
    }

    fn address(&self) -> SocketAddrV4 {
        self.address
    }

    fn dialect(&self) -> Rc<dyn Dialect> {
        Rc::new(Nats { stored: self.stored })
    }
}
