//! Where Shampoo computes, and whether the library was built for that.

use sonew_kernels::context::Profile;
use sonew_kernels::kronecker::Method;

use super::{FactorFormat, ProductsPlace, Shampoo};
use crate::Error;

/// Whether statistics and directions are multiplied in host memory.
pub(super) fn on_host(config: &Shampoo, profile: Profile) -> bool {
    match config.products {
        ProductsPlace::Auto => profile.host_memory || config.factors == FactorFormat::Bf16,
        ProductsPlace::Host => true,
        ProductsPlace::Device => false,
    }
}

/// Refuses what needs the feature `host` where the library was not `built` with it.
pub(super) fn require_built(config: &Shampoo, on_host: bool, built: bool) -> Result<(), Error> {
    let found = match (on_host, config.root.method()) {
        _ if built => return Ok(()),
        (true, _) => match config.products {
            ProductsPlace::Host => "products=host".into(),
            _ if config.factors == FactorFormat::Bf16 => "factors=bf16".into(),
            _ => "products=auto on a CPU adapter".into(),
        },
        (false, None | Some(Method::NewtonRefreshed)) => return Ok(()),
        (false, Some(method)) => {
            let named = Method::ALL.into_iter().find(|(_, it)| *it == method);
            format!("root={}", named.map_or("host", |(name, _)| name))
        }
    };
    Err(Error::NotBuilt {
        optimizer: "shampoo".into(),
        found,
        feature: "host",
        instead: "products=device, factors=f32 and root=newton-refreshed",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RootChoice;

    #[test]
    fn without_the_feature_whatever_computes_on_the_host_is_refused_by_the_name_of_its_setting() {
        let shampoo = Shampoo::default();
        let asked = |config: Shampoo, on_host| match require_built(&config, on_host, false) {
            Err(Error::NotBuilt { found, .. }) => found,
            other => format!("{other:?}"),
        };
        assert_eq!(asked(shampoo, true), "products=auto on a CPU adapter");
        let host = shampoo.products(ProductsPlace::Host);
        assert_eq!(asked(host, true), "products=host");
        let narrow = shampoo.factors(FactorFormat::Bf16);
        assert_eq!(asked(narrow, true), "factors=bf16");
        let eigen = shampoo.root(RootChoice::Eigen);
        assert_eq!(asked(eigen, false), "root=eigen");
    }

    #[test]
    fn without_the_feature_what_runs_on_the_device_is_taken_and_with_it_everything() {
        for root in [RootChoice::Auto, RootChoice::NewtonRefreshed] {
            let config = Shampoo::default().root(root);
            assert_eq!(require_built(&config, false, false), Ok(()));
        }
        assert_eq!(require_built(&Shampoo::default(), true, true), Ok(()));
    }
}
