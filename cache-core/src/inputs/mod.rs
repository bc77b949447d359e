//! Inputs: from what was observed to what is recorded, and checking that it still holds.

pub(crate) mod asks;
pub(crate) mod check;
pub(crate) mod facts;
mod heard;
pub(crate) mod inherited;
pub(crate) mod input;
pub(crate) mod kernel;
pub(crate) mod libraries;
mod links;
pub(crate) mod listing;
pub(crate) mod modes;
pub(crate) mod names;
pub(crate) mod places;
pub(crate) mod processor;
pub(crate) mod question;
pub(crate) mod record;
pub(crate) mod search;
pub(crate) mod sort;
pub(crate) mod times;
pub(crate) mod tool_caches;
