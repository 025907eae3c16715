//! Links the library again when the list of exported C functions changes.

fn main() {
    println!("cargo:rerun-if-changed=exports.map");
}
