//! The names inside keys, tags and targets must be arguments of the method.

use crate::errors::{Errors, listed};
use crate::model::{Given, Helpers, Source};
use crate::suggest::nearest;
use crate::template::{Part, RETURNED};

pub(super) fn check(helpers: &Helpers, arguments: &[String], errors: &mut Errors) {
    let known = |returned| Known { arguments, returned };
    if let Some(cached) = &helpers.cached {
        for template in cached.value.key.iter().chain(cached.value.tags.iter().flat_map(|tags| &tags.value)) {
            known(false).template(template, errors);
        }
    }
    if let Some(key) = helpers.rate_limited.as_ref().and_then(|limited| limited.value.key.as_ref()) {
        known(false).template(key, errors);
    }
    let Some(write) = &helpers.write else { return };
    for template in write.value.invalidates.iter().flat_map(|tags| &tags.value) {
        known(true).template(template, errors);
    }
    for arg in write.value.write_through.iter().flat_map(|target| &target.value.args) {
        if let Source::Value { name } = &arg.value {
            known(true).name(name, name, arg, errors);
        }
    }
}

struct Known<'a> {
    arguments: &'a [String],
    /// Whether `ret`, what the method returned, is known when the text is made.
    returned: bool,
}

impl Known<'_> {
    fn template(&self, template: &Given<Vec<Part>>, errors: &mut Errors) {
        for part in &template.value {
            if let Part::Value { name, .. } = part {
                self.name(name, &format!("{{{name}}}"), template, errors);
            }
        }
    }

    fn name<T>(&self, name: &str, written: &str, at: &Given<T>, errors: &mut Errors) {
        let is_argument = self.arguments.iter().any(|argument| argument == name);
        if name == RETURNED && self.returned {
            if is_argument {
                let message = "`ret` is what the method returns, and also the name of an argument: rename the argument";
                errors.at(&at.tokens, message);
            }
            return;
        }
        if is_argument {
            return;
        }
        if name == RETURNED {
            let message = "`{ret}` is known only after a write: in a key, in the tags of `#[cached]` and in \
                           `#[rate_limited]` use the arguments";
            errors.at(&at.tokens, message);
            return;
        }
        let message = if self.arguments.is_empty() {
            format!("`{written}` names no argument: this method has none with a name")
        } else {
            let known = listed(self.arguments, "and");
            let hint = nearest(name, self.arguments.iter().map(String::as_str));
            let hint = hint.map(|meant| format!(": did you mean `{meant}`?")).unwrap_or_default();
            format!("`{written}` names no argument of this method, which has {known}{hint}")
        };
        errors.at(&at.tokens, message);
    }
}
