//! What each watch asks the server for.

use super::{
    Source,
    id::WatchId,
    store::Object,
    watch::{Report, Watch},
};
use crate::{
    args::Scope,
    diagnostic::ObjectKind,
    snapshot::{ApiNode, ApiPod, ObjectName, Unconvertible},
};
use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        core::v1::{ConfigMap, Namespace, Secret, Service},
        discovery::v1::EndpointSlice,
        networking::v1::{Ingress, IngressClass},
    },
    serde::de::DeserializeOwned,
};
use kube::{Api, Resource, runtime::watcher};
use rust_nginx_crds::IngressClassConfig;
use std::{fmt::Debug, sync::Arc};

/// Names the Service that a slice belongs to.
const SERVICE_LABEL: &str = "kubernetes.io/service-name";

impl Source {
    /// Starts a watch.
    pub(super) fn start(&mut self, id: WatchId) {
        let config = watcher::Config::default();
        let by_name = |name: &ObjectName| config.clone().fields(&format!("metadata.name={}", name.name));
        match &id {
            WatchId::Ingresses => {
                self.spawn::<Ingress>(id.clone(), self.scoped(), config, ObjectKind::Ingress, |object| {
                    object.try_into().map(Arc::new).map(Object::Ingress)
                })
            }
            WatchId::IngressClasses => {
                let api = Api::<IngressClass>::all(self.cluster.client.clone());
                self.spawn(id.clone(), api, config, ObjectKind::IngressClass, |object| {
                    object.try_into().map(Arc::new).map(Object::IngressClass)
                });
            }
            WatchId::ClassConfigs => {
                let api = Api::<IngressClassConfig>::all(self.cluster.client.clone());
                self.spawn(id.clone(), api, config, ObjectKind::IngressClassConfig, |object| {
                    object.try_into().map(Arc::new).map(Object::ClassConfig)
                });
            }
            WatchId::Namespaces => {
                let Scope::Selector(selector) = &self.cluster.scope else { return };
                let api = Api::<Namespace>::all(self.cluster.client.clone());
                let config = config.labels(selector.as_str());
                self.spawn(id.clone(), api, config, ObjectKind::Resource, |_| Ok(Object::Namespace));
            }
            WatchId::Services => self.spawn(id.clone(), self.scoped(), config, ObjectKind::Service, service),
            WatchId::Service(name) => {
                self.spawn(id.clone(), self.within(name), by_name(name), ObjectKind::Service, service);
            }
            WatchId::EndpointSlices => {
                let config = config.labels(SERVICE_LABEL);
                self.spawn(id.clone(), self.scoped(), config, ObjectKind::EndpointSlice, slice);
            }
            WatchId::SlicesOf(name) => {
                let config = config.labels(&format!("{SERVICE_LABEL}={}", name.name));
                self.spawn(id.clone(), self.within(name), config, ObjectKind::EndpointSlice, slice);
            }
            WatchId::TlsSecrets => {
                let config = config.fields("type=kubernetes.io/tls");
                self.spawn(id.clone(), self.scoped(), config, ObjectKind::Secret, secret);
            }
            WatchId::OtherSecrets => {
                // Releases of Helm are Secrets, too: many, large, and of no use to anybody here.
                let config = config.fields("type!=kubernetes.io/tls,type!=helm.sh/release.v1");
                self.spawn(id.clone(), self.scoped(), config, ObjectKind::Secret, secret);
            }
            WatchId::Secret(name) => {
                self.spawn(id.clone(), self.within(name), by_name(name), ObjectKind::Secret, secret);
            }
            WatchId::Pod(name) => self.spawn(id.clone(), self.within(name), by_name(name), ObjectKind::Resource, pod),
            WatchId::Peers { namespace, selector } => {
                let api = Api::namespaced(self.cluster.client.clone(), namespace);
                self.spawn(id.clone(), api, config.labels(selector), ObjectKind::Resource, pod);
            }
            WatchId::Node(name) => {
                let api = Api::all(self.cluster.client.clone());
                self.spawn(id.clone(), api, by_name(name), ObjectKind::Resource, node);
            }
            WatchId::Nodes => {
                let api = Api::all(self.cluster.client.clone());
                self.spawn(id.clone(), api, config, ObjectKind::Resource, node);
            }
            WatchId::ConfigMaps => self.spawn(id.clone(), self.scoped(), config, ObjectKind::ConfigMap, config_map),
            WatchId::ConfigMap(name) => {
                self.spawn(id.clone(), self.within(name), by_name(name), ObjectKind::ConfigMap, config_map);
            }
        }
    }

    fn scoped<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        match &self.cluster.scope {
            Scope::Namespace(namespace) => Api::namespaced(self.cluster.client.clone(), namespace),
            Scope::All | Scope::Selector(_) => Api::all(self.cluster.client.clone()),
        }
    }

    fn within<K>(&self, name: &ObjectName) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.cluster.client.clone(), &name.namespace)
    }

    fn spawn<K>(
        &mut self,
        id: WatchId,
        api: Api<K>,
        config: watcher::Config,
        kind: ObjectKind,
        convert: fn(K) -> Result<Object, Unconvertible>,
    ) where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
    {
        self.started += 1;
        let report = Report { id: id.clone(), task: self.started, inbox: self.sender.clone() };
        let watch = Watch { api, config, kind, convert, report };
        let name = id.clone();
        let task = self.tasks.spawn(async move {
            watch.run().await;
            name
        });
        self.running.insert(id, (self.started, task));
    }
}

fn service(object: Service) -> Result<Object, Unconvertible> {
    object.try_into().map(Arc::new).map(Object::Service)
}

fn slice(object: EndpointSlice) -> Result<Object, Unconvertible> {
    object.try_into().map(Arc::new).map(Object::EndpointSlice)
}

fn secret(object: Secret) -> Result<Object, Unconvertible> {
    object.try_into().map(Arc::new).map(Object::Secret)
}

fn pod(object: ApiPod) -> Result<Object, Unconvertible> {
    object.try_into().map(Arc::new).map(Object::Pod)
}

fn node(object: ApiNode) -> Result<Object, Unconvertible> {
    object.try_into().map(Arc::new).map(Object::Node)
}

fn config_map(object: ConfigMap) -> Result<Object, Unconvertible> {
    object.try_into().map(Arc::new).map(Object::ConfigMap)
}
