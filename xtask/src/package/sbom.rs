//! The bill of materials: a binary's crates with versions, licences and digests, in CycloneDX
//! format.
//!
//! Cargo lists the crates for the target with the target's features; `Cargo.lock` has the
//! registry's digest of every crate. The file has no serial number and no time, so the same crates
//! give the same file.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::process;
use crate::targets::{self, Target};

/// The used part of `Cargo.lock`.
#[derive(Deserialize)]
struct Lock {
    package: Vec<Locked>,
}

#[derive(Deserialize)]
struct Locked {
    name: String,
    version: String,
    checksum: Option<String>,
}

/// The bill of materials of the binary for `target`.
///
/// # Errors
///
/// Cargo fails, or a crate is not in `Cargo.lock`.
pub fn json(target: &Target, version: &str) -> Result<String, String> {
    let mut cargo = process::cargo(&["metadata", "--format-version", "1", "--locked"]);
    cargo.args(["--filter-platform", &target.triple, "--no-default-features"]);
    cargo.args(["--features", &target.build.features.join(",")]);
    let metadata: Value = serde_json::from_str(&process::output(&mut cargo)?)
        .map_err(|error| format!("cargo metadata: {error}"))?;
    let lock: Lock = targets::read("Cargo.lock")?;
    let checksums = lock
        .package
        .into_iter()
        .filter_map(|package| Some(((package.name, package.version), package.checksum?)));
    let bill = bill(&metadata, &checksums.collect(), version)?;
    serde_json::to_string_pretty(&bill).map(|text| text + "\n").map_err(|error| error.to_string())
}

fn bill(
    metadata: &Value,
    checksums: &BTreeMap<(String, String), String>,
    version: &str,
) -> Result<Value, String> {
    let packages: BTreeMap<&str, &Value> = array(&metadata["packages"])
        .filter_map(|package| Some((package["id"].as_str()?, package)))
        .collect();
    let root = packages
        .iter()
        .find(|(_, package)| package["name"] == "loka-stratum")
        .map(|(id, _)| *id)
        .ok_or("cargo metadata: no loka-stratum")?;
    let edges = edges(metadata);
    let (mut reached, mut open) = (BTreeSet::from([root]), vec![root]);
    while let Some(id) = open.pop() {
        for next in edges.get(id).into_iter().flatten() {
            if reached.insert(next) {
                open.push(next);
            }
        }
    }
    let mut components = Vec::new();
    for id in reached.iter().filter(|id| **id != root) {
        components
            .push(component(packages.get(id).ok_or(format!("{id}: no package"))?, checksums)?);
    }
    components.sort_by_key(|component| component["purl"].as_str().map(str::to_owned));
    let reference = |id: &str| packages.get(id).map(|package| purl(package));
    let mut dependencies = Vec::new();
    for id in &reached {
        let on: BTreeSet<String> =
            edges.get(id).into_iter().flatten().filter_map(|id| reference(id)).collect();
        dependencies.push(json!({"ref": reference(id), "dependsOn": on}));
    }
    dependencies.sort_by_key(|entry| entry["ref"].as_str().map(str::to_owned));
    Ok(json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": reference(root),
                "name": "loka-stratum",
                "version": version,
                "licenses": [{"expression": "MIT OR Apache-2.0"}],
            },
        },
        "components": components,
        "dependencies": dependencies,
    }))
}

/// Each package's run-time dependencies, without tests and build scripts.
fn edges(metadata: &Value) -> BTreeMap<&str, Vec<&str>> {
    let is_normal =
        |dependency: &&Value| array(&dependency["dep_kinds"]).any(|kind| kind["kind"].is_null());
    let nodes = array(&metadata["resolve"]["nodes"]).filter_map(|node| {
        let needs = array(&node["deps"]).filter(is_normal).filter_map(|d| d["pkg"].as_str());
        Some((node["id"].as_str()?, needs.collect()))
    });
    nodes.collect()
}

fn component(
    package: &Value,
    checksums: &BTreeMap<(String, String), String>,
) -> Result<Value, String> {
    let text = |key: &str| package[key].as_str().unwrap_or_default().to_owned();
    let (name, version) = (text("name"), text("version"));
    let checksum = checksums
        .get(&(name.clone(), version.clone()))
        .ok_or(format!("Cargo.lock: no checksum of {name} {version}"))?;
    let is_macro = array(&package["targets"])
        .any(|target| array(&target["kind"]).any(|kind| kind == "proc-macro"));
    // Some crates still use the older form.
    let licence = text("license").replace('/', " OR ");
    Ok(json!({
        "type": "library",
        "bom-ref": purl(package),
        "name": name,
        "version": version,
        "purl": purl(package),
        // A macro runs in the compiler; its output is in the binary, its own code is not.
        "scope": if is_macro { "excluded" } else { "required" },
        "licenses": [{"expression": licence}],
        "hashes": [{"alg": "SHA-256", "content": checksum}],
    }))
}

fn purl(package: &Value) -> String {
    let text = |key: &str| package[key].as_str().unwrap_or_default();
    format!("pkg:cargo/{}@{}", text("name"), text("version"))
}

fn array(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_crate_of_the_gateway_is_there_and_none_of_the_tests() {
        let target = targets::one("aarch64-unknown-linux-musl").unwrap();
        let text = json(&target, "1.2.3").unwrap();
        assert_eq!(text, json(&target, "1.2.3").unwrap());
        let bill: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(bill["metadata"]["component"]["version"], "1.2.3");
        let components: BTreeMap<&str, &Value> =
            array(&bill["components"]).map(|c| (c["name"].as_str().unwrap(), c)).collect();
        for name in ["tokio", "rustls", "ring", "heapless", "sha2"] {
            let component = components.get(name).unwrap_or_else(|| panic!("no {name}"));
            assert_eq!(component["scope"], "required", "{name}");
            assert_eq!(component["hashes"][0]["content"].as_str().unwrap().len(), 64);
            assert!(!component["licenses"][0]["expression"].as_str().unwrap().is_empty());
        }
        assert_eq!(components["serde_derive"]["scope"], "excluded");
        for name in ["criterion", "proptest", "tempfile", "windows-sys", "loka-stratum"] {
            assert!(!components.contains_key(name), "{name}");
        }
        let references: BTreeSet<&str> =
            array(&bill["dependencies"]).map(|d| d["ref"].as_str().unwrap()).collect();
        // A crate may occur in two versions.
        let all = array(&bill["components"]).count();
        assert_eq!(references.len(), all + 1, "one for each, and the gateway's own");
    }

    #[test]
    fn a_crate_without_a_digest_is_an_error() {
        let metadata = json!({
            "packages": [
                {"id": "a", "name": "loka-stratum", "version": "1.0.0"},
                {"id": "b", "name": "stranger", "version": "2.0.0", "license": "MIT"},
            ],
            "resolve": {"nodes": [
                {"id": "a", "deps": [{"pkg": "b", "dep_kinds": [{"kind": null}]}]},
                {"id": "b", "deps": []},
            ]},
        });
        let error = bill(&metadata, &BTreeMap::new(), "1.0.0").unwrap_err();
        assert_eq!(error, "Cargo.lock: no checksum of stranger 2.0.0");
    }
}
