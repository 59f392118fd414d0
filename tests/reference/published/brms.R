# Fits of brms 2.18.0 under explicit priors: Rscript brms.R, in this folder, writes brms.csv.
suppressMessages(library(brms))

table_of <- function(name) read.csv(paste0(name, ".csv"))
rows <- list()
fit <- function(name, ...) {
  made <- brm(..., chains = 2, iter = 5000, warmup = 1000, seed = 1, refresh = 0, silent = 2)
  found <- posterior::summarise_draws(as_draws_array(made), "mean", "sd", "mcse_mean", "ess_bulk")
  found <- as.data.frame(found)[!grepl("^r_|^z_|lp__|lprior|^L_|^disc$|phi", found$variable), ]
  rows[[name]] <<- cbind(fit = name, setNames(found, c("variable", "mean", "sd", "mcse", "ess")))
}

d <- read.csv("../data/sleepstudy.csv")
fit("sleepstudy", Reaction ~ 0 + Intercept + Days + (Days | Subject), data = d,
    prior = c(prior(normal(0, 500), class = b), prior(normal(0, 50), class = sd),
              prior(normal(0, 50), class = sigma), prior(lkj(2), class = cor)))

d <- transform(read.csv("../data/cbpp.csv"), period = factor(period))
fit("cbpp", incidence | trials(size) ~ 0 + Intercept + period + (1 | herd), data = d, family = binomial(),
    prior = c(prior(normal(0, 5), class = b), prior(normal(0, 2), class = sd)))

d <- transform(table_of("epilepsy"), Trt = factor(Trt))
fit("epilepsy", count ~ 0 + Intercept + zAge + zBase * Trt + (1 | patient), data = d, family = poisson(),
    prior = c(prior(normal(0, 5), class = b), prior(normal(0, 2), class = sd)))

ordinal <- c(prior(normal(0, 5), class = b), prior(normal(0, 10), class = Intercept))
of_groups <- prior(normal(0, 3), class = sd)

d <- transform(table_of("wine"), temp = factor(temp, c("cold", "warm")), contact = factor(contact, c("no", "yes")))
fit("wine", ordered(rating) ~ temp + contact + (1 | judge), data = d, family = cumulative(),
    prior = c(ordinal, of_groups))

levels_of <- list(Sat = c("Low", "Medium", "High"), Infl = c("Low", "Medium", "High"),
                  Type = c("Tower", "Apartment", "Atrium", "Terrace"), Cont = c("Low", "High"))
d <- table_of("housing")
for (name in names(levels_of)) d[[name]] <- factor(d[[name]], levels_of[[name]], ordered = name == "Sat")
fit("housing", Sat | weights(Freq) ~ Infl + Type + Cont, data = d, family = cumulative(), prior = ordinal)

d <- table_of("inhaler")
fit("inhaler_cumulative", ordered(rating) ~ treat + period + carry + (1 | subject), data = d,
    family = cumulative(), prior = c(ordinal, of_groups))
fit("inhaler_sratio", ordered(rating) ~ treat + period + carry, data = d, family = sratio(), prior = ordinal)

d <- transform(table_of("veteran"), cens = 1 - status, celltype = factor(celltype))
fit("veteran", time | cens(cens) ~ 0 + Intercept + celltype + karno, data = d, family = weibull(),
    prior = c(prior(normal(0, 10), class = b), prior(gamma(2, 1), class = shape)))

d <- table_of("kidney")
fit("kidney", time | cens(censored) ~ 0 + Intercept + age + sex + (1 | patient), data = d, family = lognormal(),
    prior = c(prior(normal(0, 10), class = b), prior(normal(0, 2), class = sd), prior(normal(0, 5), class = sigma)))

d <- table_of("penguins")
fit("penguins", bf(body_mass_g ~ 0 + Intercept + species + sex + flipper_length_mm, sigma ~ 0 + Intercept + sex),
    data = d, prior = c(prior(normal(0, 5000), class = b), prior(normal(0, 10), class = b, dpar = sigma)))

d <- transform(table_of("roaches"), roach100 = roach1 / 100)
fit("roaches", y ~ 0 + Intercept + roach100 + treatment + senior + offset(log(exposure2)), data = d,
    family = zero_inflated_negbinomial(),
    prior = c(prior(normal(0, 5), class = b), prior(gamma(2, 2), class = shape), prior(beta(1, 1), class = zi)))

d <- table_of("radon")
fit("radon", log_radon ~ 0 + Intercept + floor + log_uranium + (floor | county), data = d,
    prior = c(prior(normal(0, 5), class = b), prior(normal(0, 2), class = sd), prior(normal(0, 2), class = sigma),
              prior(lkj(2), class = cor)))

d <- table_of("sparse")
fit("sparse_r2d2", y ~ ., data = d, control = list(adapt_delta = 0.98),
    prior = c(prior(R2D2(0.5, 2, 0.5), class = b), prior(student_t(3, 0, 2.5), class = Intercept),
              prior(student_t(3, 0, 2.5), class = sigma)))

d <- table_of("imputed")
fit("imputed", bf(y ~ 0 + Intercept + mi(x) * z) + bf(x | mi() ~ 0 + Intercept + z) + set_rescor(FALSE), data = d,
    prior = c(prior(normal(0, 5), class = b, resp = y), prior(normal(0, 5), class = b, resp = x),
              prior(normal(0, 2), class = sigma, resp = y), prior(normal(0, 2), class = sigma, resp = x)))

write.csv(do.call(rbind, rows), "brms.csv", row.names = FALSE)
