//! The services that processors use, keyed by type.

use std::any::{Any, TypeId, type_name};
use std::collections::HashMap;
use std::sync::Arc;

use crate::callbacks::CallbackRouter;
use crate::secrets::SecretsClient;

/// The HTTP client that processors share: keeps connections, follows no proxy to the local machine.
pub type HttpClient = reqwest::Client;

/// A registry of shared services. A service is found by its type, which may be a trait object: `dyn SecretsClient`.
///
/// Always there: [`HttpClient`] and `dyn SecretsClient`. There when the configuration has `callbacks.listen`:
/// [`CallbackRouter`].
#[derive(Default)]
pub struct Services {
    by_type: HashMap<TypeId, Box<dyn Any + Send + Sync>>,
}

/// Nobody registered the service that a processor needs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no service of the type {wanted} is registered; {fix}")]
pub struct MissingService {
    /// The type asked for.
    pub wanted: &'static str,
    /// How to register it.
    pub fix: String,
}

impl Services {
    /// The service of this type.
    ///
    /// # Errors
    /// [`MissingService`] when there is none; its message says how to register it.
    pub fn get<T: ?Sized + Send + Sync + 'static>(&self) -> Result<Arc<T>, MissingService> {
        self.find().ok_or_else(|| MissingService {
            wanted: type_name::<T>(),
            fix: fix::<T>(),
        })
    }

    pub(crate) fn find<T: ?Sized + Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        self.by_type
            .get(&TypeId::of::<T>())
            .and_then(|service| service.downcast_ref::<Arc<T>>())
            .cloned()
    }

    /// Registers a service, in place of an earlier one of the same type.
    pub fn insert<T: ?Sized + Send + Sync + 'static>(&mut self, service: Arc<T>) {
        self.by_type.insert(TypeId::of::<T>(), Box::new(service));
    }

    pub(crate) fn insert_missing<T: ?Sized + Send + Sync + 'static>(&mut self, service: impl FnOnce() -> Arc<T>) {
        if self.find::<T>().is_none() {
            self.insert(service());
        }
    }
}

fn fix<T: ?Sized + 'static>() -> String {
    let name = type_name::<T>();
    if TypeId::of::<T>() == TypeId::of::<CallbackRouter>() {
        return "set `callbacks.listen` in the agent's configuration, for example 0.0.0.0:7720".to_owned();
    }
    if TypeId::of::<T>() == TypeId::of::<dyn SecretsClient>() || name.starts_with("dyn ") {
        return format!("register one with `Agent::builder().shared_service::<{name}>(Arc::new(…))`");
    }
    format!("register one with `Agent::builder().service(…)`, giving a value of the type {name}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::secrets::EnvironmentSecrets;

    #[test]
    fn a_service_is_found_by_its_type_and_by_its_trait() {
        let mut services = Services::default();
        services.insert(Arc::new(7_u32));
        services.insert::<dyn SecretsClient>(Arc::new(EnvironmentSecrets::new("X")));
        assert_eq!(*services.get::<u32>().unwrap(), 7);
        assert!(services.get::<dyn SecretsClient>().is_ok());
    }

    #[test]
    fn a_missing_service_says_how_to_register_it() {
        let services = Services::default();
        let error = services.get::<String>().unwrap_err().to_string();
        assert!(
            error.contains("alloc::string::String") && error.contains("builder().service("),
            "{error}"
        );
        let error = services.get::<dyn SecretsClient>().err().unwrap().to_string();
        assert!(error.contains("shared_service::<dyn"), "{error}");
        let error = services.get::<CallbackRouter>().err().unwrap().to_string();
        assert!(error.contains("callbacks.listen"), "{error}");
    }
}
