//! The projects that are built.
//!
//! When a build is met for the first time, what builds of its project needed before is fetched beside what it asks for: asking
//! for one unit after the other costs two round trips each. That is a guess, and bounded. When all builds have ended, others are
//! told what they needed.

use std::path::Path;
use std::sync::{Arc, Mutex};

use cache_core::remote::Project;

use super::flights::lock;
use super::{Server, sender};

/// Those that were met.
#[derive(Default)]
pub(super) struct Projects(Mutex<Vec<Project>>);

/// Notes the project that a build is of, and begins to fetch what it will need.
pub(super) fn meet(server: &Arc<Server>, dir: &Path) {
    let Some(project) = Project::around(dir) else {
        return;
    };
    let mut met = lock(&server.projects.0);
    if met.contains(&project) {
        return;
    }
    met.push(project.clone());
    drop(met);
    let server = server.clone();
    // Where there is no thread, what is needed is fetched when it is asked for.
    let _ = std::thread::Builder::new().spawn(move || {
        let most = server.context.settings.room;
        // Whatever the trouble is, who asks for a unit meets it too, and says so.
        let _ = server.remote().pull(&project, most);
    });
}

/// Tells others what the projects needed.
pub(super) fn tell_others(server: &Server) {
    if !sender::sends(server) {
        return;
    }
    for project in lock(&server.projects.0).iter() {
        let _ = server.remote().publish_index(project);
    }
}
