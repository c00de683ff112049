//! Products with packed weights: the weights as panels ([`pack`]), the rows of a call as bands ([`bands`]), and the work
//! that multiplies them ([`panels`]).

pub mod bands;
pub mod pack;
pub mod panels;
