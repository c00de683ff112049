//! `cloze devices`: what models can run on.

use clap::Args;
use cloze::engine::{self, DeviceDescription};
use serde_json::json;

use crate::output::{Output, grouped, one_line, width};
use crate::stop::Done;

/// List the devices that models can run on, and why one cannot be used
#[derive(Args)]
#[command(after_help = "\
Example:
  cloze devices

JSON, a line for each: device, name, capability, memory, free_memory, precision, unusable
  device is what --device takes; memory in bytes, null where that is not known; precision is what --precision
  auto means there; unusable says why the device cannot be used, and is null where it can")]
pub struct Devices {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Devices {
    pub fn run(&self) -> Done {
        let (devices, mut out) = (engine::devices(), Output::new(&indicatif::ProgressBar::hidden()));
        let column = width(devices.iter().map(|device| device.id.as_str()));
        for device in &devices {
            let DeviceDescription { id, name, capability, memory, free_memory, precision, unusable } = device;
            let capability = capability.map(|(major, minor)| format!("{major}.{minor}"));
            if self.json {
                let known = |bytes: &u64| (*memory > 0).then_some(*bytes);
                out.json(&json!({
                    "device": id,
                    "name": name,
                    "capability": capability,
                    "memory": known(memory),
                    "free_memory": known(free_memory),
                    "precision": precision.to_string(),
                    "unusable": unusable,
                }));
                continue;
            }
            let mut facts = vec![one_line(name)];
            facts.extend(capability.map(|capability| format!("compute capability {capability}")));
            match unusable {
                Some(why) => facts.push(format!("cannot be used: {}", one_line(why))),
                None if *memory > 0 => {
                    facts.push(format!("{} of {} MiB free", grouped(free_memory >> 20), grouped(memory >> 20)));
                }
                None => {}
            }
            facts.retain(|fact| !fact.is_empty());
            out.line(format!("{id:<column$}  {}", facts.join(", ")));
        }
        out.flush()
    }
}
