# REML fits of mgcv 1.8-41: Rscript mgcv.R, in this folder, writes mgcv.csv, the fitted values.
library(mgcv)
d <- transform(MASS::mcycle, g = factor(rep(c("a", "b"), length.out = 133)), z = sqrt((7 * seq_len(133)) %% 133))
d <- transform(d, u = times / diff(range(times)), v = z / diff(range(times)))
fits <- list(
  tp = gam(accel ~ s(times), data = d, method = "REML"),
  tp_k20 = gam(accel ~ s(times, k = 20), data = d, method = "REML"),
  cr_k20 = gam(accel ~ s(times, bs = "cr", k = 20), data = d, method = "REML"),
  by_factor = gam(accel ~ g + s(times, by = g, k = 12), data = d, method = "REML"),
  by_number = gam(accel ~ s(times, by = z, k = 12), data = d, method = "REML"),
  # a thin plate spline of two inputs depends on their unit in mgcv: here it is their range, as in bayesrun
  two_inputs = gam(accel ~ s(u, v, k = 40), data = d, method = "REML")
)
write.csv(signif(as.data.frame(lapply(fits, function(fit) as.numeric(fitted(fit)))), 8), "mgcv.csv", row.names = FALSE)
