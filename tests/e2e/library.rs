//! `protocols/rtmp` without the server: its package, built alone.

use std::time::Duration;

use crtmp_tests::{Launch, root};

/// A busy machine builds a few crates within this.
const BUILD: Duration = Duration::from_secs(300);

/// What would be published is whole: it builds where nothing else of this tree is.
#[test]
fn the_package_builds_alone() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let cargo =
        |task: &str| Launch::new(&cargo).args(task).env("CARGO_TARGET_DIR", folder.path()).within(BUILD);
    let task = "package -p crtmp-media -p crtmp-rtmp --offline --no-verify --allow-dirty";
    cargo(task).folder(root()).run().success();
    for name in ["crtmp-media", "crtmp-rtmp"] {
        let package = folder.path().join(format!("package/{name}-0.1.0.crate"));
        Launch::new("tar").args("xzf").arg(package).folder(folder.path()).run().success();
    }
    let package = folder.path().join("crtmp-rtmp-0.1.0");
    for task in ["build --examples", "build --no-default-features"] {
        let media = "patch.crates-io.crtmp-media.path=\"../crtmp-media-0.1.0\"";
        cargo(task).args("--offline --config").arg(media).folder(&package).run().success();
    }
}
