//! LoRA adapters as PEFT stores them: `adapter_config.json` and `adapter_model.safetensors`.
//!
//! A key is `base_model.model.` + the module's path in the task model + `.lora_A.weight` `[r, in]` or `.lora_B.weight`
//! `[out, r]`; a head that was trained whole is stored under its own tensors' names. Paths begin with the base model's
//! `bert.` or `albert.`, or, in an adapter of a bare encoder, do not.

mod config;
mod keys;
mod modules;
mod stored;
mod written;

pub use config::{LoraConfig, TaskType};
pub use keys::Place;
pub use modules::{Modules, Pattern, Targets};
pub use stored::{StoredAdapter, StoredPair};
pub use written::{Pair, Saved, write_adapter};

/// The configuration's file.
const CONFIG: &str = "adapter_config.json";

/// The tensors' file.
const TENSORS: &str = "adapter_model.safetensors";

#[cfg(test)]
mod tests;
