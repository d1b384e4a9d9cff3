//! The names inside keys, tags and targets must be arguments of the method.

use crate::errors::{Errors, listed};
use crate::model::{Given, Helpers, Origin, Template};
use crate::suggest::nearest;
use crate::template::{Part, RETURNED};

/// Whether all of them are.
pub(super) fn check(helpers: &Helpers, arguments: &[String], errors: &mut Errors) -> bool {
    let known = |returned| Known { arguments, returned };
    let mut sound = true;
    if let Some(cached) = &helpers.cached {
        for template in cached.value.key.iter().chain(cached.value.tags.iter().flat_map(|tags| &tags.value)) {
            sound &= known(false).template(template, errors);
        }
    }
    if let Some(key) = helpers.rate_limited.as_ref().and_then(|limited| limited.value.key.as_ref()) {
        sound &= known(false).template(key, errors);
    }
    let Some(write) = &helpers.write else { return sound };
    for template in write.value.invalidates.iter().flat_map(|tags| &tags.value) {
        sound &= known(true).template(template, errors);
    }
    for arg in write.value.write_through.iter().flat_map(|target| &target.value.args) {
        if let Origin::Value { name, .. } = &arg.value.origin {
            sound &= known(true).name(name, name, arg, errors);
        }
    }
    sound
}

struct Known<'a> {
    arguments: &'a [String],
    /// Whether `ret`, what the method returned, is known when the text is made.
    returned: bool,
}

impl Known<'_> {
    fn template(&self, template: &Template, errors: &mut Errors) -> bool {
        let mut sound = true;
        for part in &template.value {
            if let Part::Value { name, .. } = part {
                sound &= self.name(name, &format!("{{{name}}}"), template, errors);
            }
        }
        sound
    }

    fn name<T>(&self, name: &str, written: &str, at: &Given<T>, errors: &mut Errors) -> bool {
        let is_argument = self.arguments.iter().any(|argument| argument == name);
        if name == RETURNED && self.returned {
            if is_argument {
                let message = "`ret` is what the method returns, and also the name of an argument: rename the argument";
                errors.at(&at.tokens, message);
            }
            return !is_argument;
        }
        if is_argument {
            return true;
        }
        if name == RETURNED {
            let message = "`{ret}` is known only after a write: in a key, in the tags of `#[cached]` and in \
                           `#[rate_limited]` use the arguments";
            errors.at(&at.tokens, message);
            return false;
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
        false
    }
}
