//! The rules in f64 for one parameter: the meaning.

use super::Rule;

/// One step: parameter `p`, gradient `g` (scaled and clipped), state `slots`, learning rate `lr`, step `t` from 1.
pub fn step(rule: Rule, p: &mut f64, g: f64, slots: &mut [f64; 2], lr: f64, t: u64) {
    let [first, second] = slots;
    match rule {
        Rule::Sgd => *p -= lr * g,
        Rule::Momentum { momentum } => {
            *first = momentum * *first + g;
            *p -= lr * *first;
        }
        Rule::Nesterov { momentum } => {
            *first = momentum * *first + g;
            *p -= lr * (g + momentum * *first);
        }
        Rule::Adagrad { epsilon, epsilon_inside } => {
            *first += g * g;
            *p -= lr * g / if epsilon_inside { (*first + epsilon).sqrt() } else { first.sqrt() + epsilon };
        }
        Rule::RmsProp { decay, epsilon } => {
            *first = decay * *first + (1.0 - decay) * g * g;
            *p -= lr * g / (first.sqrt() + epsilon);
        }
        Rule::AdamW { beta1, beta2, epsilon, weight_decay } => {
            *p *= 1.0 - lr * weight_decay;
            step(Rule::Adam { beta1, beta2, epsilon }, p, g, slots, lr, t);
        }
        Rule::Adam { beta1, beta2, epsilon } => {
            *first = beta1 * *first + (1.0 - beta1) * g;
            *second = beta2 * *second + (1.0 - beta2) * g * g;
            let mean = *first / (1.0 - beta1.powi(t as i32));
            let mean_square = *second / (1.0 - beta2.powi(t as i32));
            *p -= lr * mean / (mean_square.sqrt() + epsilon);
        }
    }
}

/// What a pass makes of the gradient of a parameter `p` before the rule has it.
pub fn prepared(gradient: f64, scale: f64, clip_value: Option<f32>, weight_decay: f64, p: f64) -> f64 {
    let limit = clip_value.map_or(f64::INFINITY, f64::from);
    (gradient * scale).clamp(-limit, limit) + weight_decay * p
}
