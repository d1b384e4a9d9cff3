//! Where the user's crate finds the runtime.

use proc_macro_crate::{Error, FoundCrate, crate_name};
use proc_macro2::{Ident, Span, TokenStream};
use quote::quote;

use crate::errors::Errors;

/// The package that generated code names, and nothing but it: users do not depend on dbopt-core directly.
const RUNTIME: &str = "dbopt-diesel";

/// `::dbopt_diesel`, or what the user's Cargo.toml calls it.
pub(crate) fn runtime(errors: &mut Errors) -> TokenStream {
    let usual = || quote!(::dbopt_diesel);
    match crate_name(RUNTIME) {
        Ok(FoundCrate::Name(name)) => {
            let name = Ident::new(&name, Span::call_site());
            quote!(::#name)
        }
        // In dbopt-diesel itself, which says `extern crate self as dbopt_diesel`; also right in its doctests.
        Ok(FoundCrate::Itself) => usual(),
        Err(Error::CrateNotFound { .. }) if cfg!(not(test)) => {
            let message = "`dbopt-diesel` is not a dependency in this Cargo.toml: run `cargo add dbopt-diesel`, or say where it \
                           is re-exported: `#[repository(crate = my_facade::dbopt_diesel)]`";
            errors.push(syn::Error::new(Span::call_site(), message));
            usual()
        }
        // Built without cargo, or in the tests of this crate.
        Err(_) => usual(),
    }
}
