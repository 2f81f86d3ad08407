// The keys of `optimizer`.
#include "configs/schema.h"

namespace palimpsest {

using namespace schema;

void describe(LearningRateMultiplier& multiplier, SchemaVisitor& visitor) {
  visitor.field("parameters", multiplier.parameters, Text{}, "A pattern of names, as those of `train.trainable`.");
  visitor.field("factor", multiplier.factor, at_least(0.0), "0: these parameters stay as they are.");
}

void describe(OptimizerConfig& optimizer, SchemaVisitor& visitor) {
  visitor.field("kind", optimizer.kind,
                Choices{Choice{"adamw", OptimizerKind::adamw}, Choice{"adafactor", OptimizerKind::adafactor}},
                "The optimizer.");
  visitor.field("learning_rate", optimizer.learning_rate, at_least(0.0),
                "Peak learning rate of every parameter but the memory gates.");
  visitor.field(
      "memory_gate_learning_rate", optimizer.memory_gate_learning_rate, at_least(0.0),
      "Peak learning rate of the memory gates, and of what decays the memory, with the same warm-up and decay.");
  visitor.list("learning_rate_multipliers", optimizer.learning_rate_multipliers,
               "By what the learning rates of some parameters are multiplied, those of gates included. Of entries that "
               "mean the same parameter the last one counts.");
  visitor.field("warmup_steps", optimizer.warmup_steps, between<std::int64_t>(0, max_count),
                "Steps over which the rate rises linearly to its peak.");
  visitor.field(
      "decay", optimizer.decay,
      Choices{Choice{"cosine", Decay::cosine}, Choice{"linear", Decay::linear}, Choice{"constant", Decay::constant}},
      "How the rate falls from the peak until the last step.");
  visitor.field("decay_start", optimizer.decay_start, below_one(),
                "Share of all steps before which the rate does not fall. 0: it falls from the end of the warm-up on.");
  visitor.field("final_learning_rate_ratio", optimizer.final_learning_rate_ratio, between(0.0, 1.0),
                "The rate of the last step as a share of the peak (`cosine` and `linear`).");
  visitor.field("weight_decay", optimizer.weight_decay, at_least(0.0),
                "Decoupled weight decay of matrices and embeddings; norms and biases have none.");
  visitor.field(
      "memory_gate_weight_decay", optimizer.memory_gate_weight_decay, at_least(0.0),
      "The same of the memory gates, whose logits it draws to 0, half of the memory. It is there for comparison: "
      "other programs that decay all parameters do this unasked.");
  visitor.field("decay_toward_initial", optimizer.decay_toward_initial, at_least(0.0),
                "Decoupled decay of matrices, embeddings, norms and biases toward `train.initial_weights`, against "
                "forgetting (L2-SP): takes a copy of the trained weights, in memory and in each checkpoint.");
  visitor.field("beta1", optimizer.beta1, below_one(), "AdamW: decay of the first moment.");
  visitor.field("beta2", optimizer.beta2, below_one(), "AdamW: decay of the second moment.");
  visitor.field("epsilon", optimizer.epsilon, positive(), "AdamW: added to the root of the second moment.");
  visitor.field("clip_norm", optimizer.clip_norm, at_least(0.0),
                "Largest norm of all gradients together; larger ones are scaled down to it. 0: no clipping.");
  visitor.field(
      "sharded", optimizer.sharded, Boolean{},
      "AdamW: whether every rank keeps the optimizer's state for its share of the parameters alone, and updates "
      "that (ZeRO, stage 1): memory falls with the number of ranks, the bits stay the same.");
  visitor.field("adafactor_decay_rate", optimizer.adafactor_decay_rate, between(0.0, 1.0),
                "Adafactor: the second moment of step t decays by 1 - t^-rate.");
  visitor.field("adafactor_clip_threshold", optimizer.adafactor_clip_threshold, positive(),
                "Adafactor: largest root mean square of a parameter's update.");
  visitor.field("adafactor_epsilon1", optimizer.adafactor_epsilon1, between(1e-37, 1.0),
                "Adafactor: added to the squared gradient.");
  visitor.field("adafactor_epsilon2", optimizer.adafactor_epsilon2, at_least(0.0),
                "Adafactor: least root mean square a parameter counts with under `adafactor_scale_parameter`.");
  visitor.field(
      "adafactor_scale_parameter", optimizer.adafactor_scale_parameter, Boolean{},
      "Adafactor: whether the rate is relative to the parameter's root mean square (never for memory gates).");
}

}  // namespace palimpsest
