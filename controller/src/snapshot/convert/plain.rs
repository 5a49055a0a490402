//! core/v1: Secret and ConfigMap.

use super::{Metadata, Unconvertible};
use crate::snapshot::{ConfigMap, Secret};
use k8s_openapi::api::core::v1 as api;

impl TryFrom<api::Secret> for Secret {
    type Error = Unconvertible;

    fn try_from(secret: api::Secret) -> Result<Self, Unconvertible> {
        let api::Secret { data, immutable: _, metadata, string_data, type_ } = secret;
        let metadata = Metadata::read(metadata)?;
        // The API server folds `stringData` into `data`, where it wins; files come as written.
        let plain = string_data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.into_bytes().into()));
        let data =
            data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0.into())).chain(plain).collect();
        Ok(Self { name: metadata.name, secret_type: type_.unwrap_or_else(|| "Opaque".to_owned()), data })
    }
}

impl TryFrom<api::ConfigMap> for ConfigMap {
    type Error = Unconvertible;

    fn try_from(config_map: api::ConfigMap) -> Result<Self, Unconvertible> {
        let api::ConfigMap { binary_data: _, data, immutable: _, metadata } = config_map;
        let metadata = Metadata::read(metadata)?;
        Ok(Self { name: metadata.name, data: data.unwrap_or_default() })
    }
}
