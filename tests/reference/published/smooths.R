# Fits of brms 2.18.0 with smooth and monotonic terms: Rscript smooths.R, in this folder, writes smooths.csv, mcycle.csv
# and esoph.csv.
suppressMessages({library(brms); library(mgcv)})

rows <- list()
keep <- function(name, draws) {
  found <- as.data.frame(posterior::summarise_draws(draws, "mean", "sd", "mcse_mean", "ess_bulk"))
  found[-1] <- lapply(found[-1], as.numeric)
  found <- found[!grepl("^zs_|^s_|lp__|lprior", found$variable), ]
  rows[[name]] <<- cbind(fit = name, setNames(found, c("variable", "mean", "sd", "mcse", "ess")))
}
fit <- function(...) brm(..., chains = 2, iter = 5000, warmup = 1000, seed = 1, refresh = 0, silent = 2)

# The penalised columns of bayesrun are mgcv's without their straight line, of mean square 1 over the rows: `scale` is
# how many of brms' sds one of its own is.
d <- MASS::mcycle
write.csv(d, "mcycle.csv", row.names = FALSE)
smooth <- smooth2random(smoothCon(s(times), d, absorb.cons = TRUE, diagonal.penalty = TRUE)[[1]], "", type = 2)
scale <- sqrt(mean(rowSums(residuals(lm(smooth$rand[[1]] ~ d$times))^2)))
made <- fit(accel ~ 0 + Intercept + s(times), data = d, control = list(adapt_delta = 0.95),
            prior = c(prior(normal(0, 1000), class = b), prior(normal(0, 100), class = sigma),
                      set_prior(sprintf("normal(0, %.10g)", 100 / scale), class = "sds")))
draws <- as_draws_array(made)
at <- c(5, 10, 15, 20, 25, 30, 35, 40, 50)
line <- posterior_epred(made, newdata = data.frame(times = at))
own <- posterior::subset_draws(draws, c("sigma", "sds_stimes_1"))
curve <- array(line, c(4000, 2, length(at)), list(NULL, NULL, paste0("curve[", at, "]")))
keep("mcycle", posterior::bind_draws(own, posterior::as_draws_array(curve), along = "variable"))
rows$mcycle[rows$mcycle$variable == "sds_stimes_1", c("mean", "sd", "mcse")] <-
  scale * rows$mcycle[rows$mcycle$variable == "sds_stimes_1", c("mean", "sd", "mcse")]

d <- transform(esoph, n = ncases + ncontrols, age = as.integer(agegp) - 1, alc = as.integer(alcgp) - 1,
               tob = as.integer(tobgp) - 1)[c("age", "alc", "tob", "ncases", "n")]
write.csv(d, "esoph.csv", row.names = FALSE)
keep("esoph", as_draws_array(fit(
  ncases | trials(n) ~ 0 + Intercept + mo(age) + mo(alc) + mo(tob), data = d, family = binomial(),
  prior = c(prior(normal(0, 5), class = b)))))
keep("esoph_interaction", as_draws_array(fit(
  ncases | trials(n) ~ 0 + Intercept + mo(age) + mo(alc) * tob, data = d, family = binomial(),
  prior = c(prior(normal(0, 5), class = b)))))

write.csv(do.call(rbind, rows), "smooths.csv", row.names = FALSE)
