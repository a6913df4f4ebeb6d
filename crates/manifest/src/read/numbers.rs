//! Reads lists of numbers: weights, quantiles, statuses. Refuses a list with one that does not belong there, in its place.

use super::{At, Fields};
use crate::sections::Shape;
use crate::units::Refusal;
use crate::values::{bounded_integer, quantile};
use rollout::names::Weight;

impl Fields<'_> {
    /// Returns weights from 1 to 100, each above the one before.
    pub fn weights(&self, name: &str) -> Option<At<Vec<Weight>>> {
        let (key, value) = self.value(name)?;
        let Shape::Weights { max } = key.shape else { panic!("BUG: `{name}` holds no weights") };
        let Some(list) = value.get_ref().as_array().filter(|list| (1..=max).contains(&list.len())) else {
            let reason = format!("a list of 1 to {max} numbers was expected");
            return self.refuse(key, value.span(), Refusal::new(reason, "write [5, 25, 100]"));
        };
        let (numbers, whole) = self.elements(key, "a weight", list.iter(), |number| {
            let percent = bounded_integer(&Shape::Integer { min: 1, max: 100 }, number, 1, 100)?;
            let percent = u8::try_from(percent).expect("BUG: bounded by 100");
            Ok(Weight::new(percent).expect("BUG: bounded by 100"))
        });
        if let Some(pair) = numbers.windows(2).find(|pair| pair[0].value >= pair[1].value) {
            let reason = format!("the step before has {} already", pair[0].value);
            return self.refuse(
                key,
                pair[1].span.clone(),
                Refusal::new(reason, "write rising weights, as [5, 25, 100]"),
            );
        }
        whole.then(|| At {
            value: numbers.into_iter().map(|number| number.value).collect(),
            span: value.span(),
        })
    }

    /// Returns fractions between 0 and 1, each above the one before.
    pub fn quantiles(&self, name: &str) -> Option<At<Vec<f64>>> {
        let (key, value) = self.value(name)?;
        let Shape::Quantiles { max } = key.shape else { panic!("BUG: `{name}` holds no quantiles") };
        let Some(list) = value.get_ref().as_array().filter(|list| (1..=max).contains(&list.len())) else {
            let reason = format!("a list of 1 to {max} numbers was expected");
            return self.refuse(key, value.span(), Refusal::new(reason, "write [0.5, 0.9, 0.99, 0.999]"));
        };
        let (numbers, whole) = self.elements(key, "a quantile", list.iter(), quantile);
        if let Some(pair) = numbers.windows(2).find(|pair| pair[0].value >= pair[1].value) {
            let reason = format!("{} stands before it", pair[0].value);
            let help = "write rising quantiles, as [0.5, 0.9, 0.99]";
            return self.refuse(key, pair[1].span.clone(), Refusal::new(reason, help));
        }
        whole.then(|| At {
            value: numbers.into_iter().map(|number| number.value).collect(),
            span: value.span(),
        })
    }

    /// Returns statuses of failures, from 500 to 599.
    pub fn statuses(&self, name: &str) -> Option<At<Vec<u16>>> {
        let (key, value) = self.value(name)?;
        let Shape::Statuses { max } = key.shape else { panic!("BUG: `{name}` holds no statuses") };
        let Some(list) = value.get_ref().as_array().filter(|list| (1..=max).contains(&list.len())) else {
            let reason = format!("a list of 1 to {max} numbers was expected");
            return self.refuse(key, value.span(), Refusal::new(reason, "write [500, 502, 503, 504]"));
        };
        let (numbers, whole) = self.elements(key, "a status of a failure", list.iter(), |number| {
            let status = bounded_integer(&Shape::Integer { min: 500, max: 599 }, number, 500, 599)?;
            Ok(u16::try_from(status).expect("BUG: bounded by 599"))
        });
        whole.then(|| At {
            value: numbers.into_iter().map(|number| number.value).collect(),
            span: value.span(),
        })
    }
}
