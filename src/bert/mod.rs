//! BERT.
