//! `rust-nginx crds`: the definitions of our own kinds, ready for `kubectl apply -f -`.

/// All of them as one YAML stream.
#[must_use]
pub fn render() -> String {
    let documents = rust_nginx_crds::definitions().into_iter().map(|(_, definition)| document(&definition));
    documents.collect::<Vec<_>>().join("---\n")
}

fn document(definition: &impl serde::Serialize) -> String {
    serde_saphyr::to_string(definition).expect("a definition is plain data, which YAML can hold")
}

#[cfg(test)]
mod tests {
    use super::document;
    use std::{fs, path::Path};

    /// The files that people apply and that the chart ships are what the types say. `UPDATE_GOLDENS=1` writes them.
    #[test]
    fn files_are_what_the_types_say() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        for (name, definition) in rust_nginx_crds::definitions() {
            let expected = document(&definition);
            for directory in ["crds/yaml", "helm/rust-nginx/crds"] {
                let path = root.join(directory).join(format!("{name}.yaml"));
                if std::env::var_os("UPDATE_GOLDENS").is_some() {
                    fs::create_dir_all(path.parent().unwrap()).unwrap();
                    fs::write(&path, &expected).unwrap();
                }
                let actual = fs::read_to_string(&path).unwrap_or_default();
                assert!(actual == expected, "{} is not what the types say; UPDATE_GOLDENS=1 writes it", path.display());
            }
        }
    }
}
