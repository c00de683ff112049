//! Which words of an example are hidden, and behind what (Devlin et al. 2019, §3.1): of the words chosen, 80 % become
//! `[MASK]`, 10 % a random token, 10 % stay.

use super::recipe::MaskUnit;
use super::store::Vocabulary;
use crate::ops::cross_entropy::IGNORED;
use crate::train::random::Generator;

/// Of the chosen, what becomes `[MASK]`.
const HIDDEN: f64 = 0.8;
/// Of the rest, what becomes a random token.
const REPLACED: f64 = 0.5;

/// Hides about the share `masked` of `ids`, special tokens counted but never hidden, and at least one. Returns the word of
/// each chosen place, [`IGNORED`] elsewhere.
///
/// Places are taken in random order until there are enough; a whole word that would be too many is left out.
pub fn hide(
    ids: &mut [u32],
    masked: f64,
    unit: MaskUnit,
    vocabulary: &Vocabulary,
    generator: &mut Generator,
) -> Vec<i32> {
    let mut words = vec![IGNORED; ids.len()];
    let mut units = units(ids, unit, vocabulary);
    let wanted = ((ids.len() as f64 * masked).round() as usize).max(1);
    generator.shuffle(&mut units);
    let mut chosen = 0;
    for (first, end) in units {
        if chosen >= wanted {
            break;
        }
        if chosen > 0 && chosen + (end - first) > wanted {
            continue;
        }
        for place in first..end {
            words[place] = ids[place] as i32; // ids of a vocabulary fit 31 bits
            if generator.happens(HIDDEN) {
                ids[place] = vocabulary.mask;
            } else if generator.happens(REPLACED) {
                ids[place] = generator.below(vocabulary.size as u64) as u32;
            }
        }
        chosen += end - first;
    }
    words
}

/// First and end of everything that can be hidden.
fn units(ids: &[u32], unit: MaskUnit, vocabulary: &Vocabulary) -> Vec<(usize, usize)> {
    let mut units: Vec<(usize, usize)> = Vec::with_capacity(ids.len());
    for (place, &id) in ids.iter().enumerate() {
        if id == vocabulary.cls || id == vocabulary.sep {
            continue;
        }
        let continues = unit == MaskUnit::WholeWord && vocabulary.continues.get(id as usize) == Some(&true);
        match units.last_mut() {
            Some((_, end)) if continues && *end == place => *end = place + 1,
            _ => units.push((place, place + 1)),
        }
    }
    units
}
