# Writes wilcox.tsv and exact.tsv: what R computes. Rscript statistics.R FOLDER
folder <- commandArgs(trailingOnly = TRUE)[1]
set.seed(20260101)
options(warn = -1)
digits <- function(x, n = 17) paste(formatC(x, digits = n, format = "g"), collapse = " ")
lines <- c()
kinds <- c("two.sided", "greater", "less")
add <- function(x, y) {
  x <- signif(x, 4); y <- signif(y, 4)
  for (kind in kinds) {
    test <- wilcox.test(x, y, alternative = kind)
    if (!is.nan(test$p.value))
      lines <<- c(lines, paste(kind, digits(x, 5), digits(y, 5), digits(test$statistic), digits(test$p.value), sep = "\t"))
  }
}
for (i in 1:50) add(rnorm(sample(1:12, 1)), rnorm(sample(1:12, 1), mean = sample(c(0, 1, 3), 1)))
for (i in 1:15) add(rexp(sample(20:49, 1)), rexp(sample(20:49, 1)))
add(rnorm(49), rnorm(49)); add(rnorm(49), rnorm(50)); add(rnorm(50), rnorm(49)); add(rnorm(50), rnorm(50))
for (i in 1:50) add(sample(0:5, sample(2:40, 1), TRUE), sample(0:6, sample(2:40, 1), TRUE))
for (i in 1:10) add(round(rnorm(200), 1), round(rnorm(150, 0.2), 1))
add(1:5, 11:15); add(c(0, 0, 0, 1), rep(0, 30)); add(1:30, 31:60)
writeLines(lines, file.path(folder, "wilcox.tsv"))

lines <- c()
for (i in 1:40) for (kind in kinds) {
  n <- sample(c(5, 20, 100, 1000), 2, TRUE); e <- c(sample(0:min(20, n[1]), 1), sample(0:min(20, n[2]), 1))
  if (i %% 4 == 0) e[2] <- 0
  p <- fisher.test(matrix(c(e[1], n[1] - e[1], e[2], n[2] - e[2]), 2), alternative = kind)$p.value
  lines <- c(lines, paste("fisher", kind, e[1], n[1], e[2], n[2], digits(p), sep = "\t"))
}
for (i in 1:20) for (kind in kinds) {
  n <- sample(1:200, 1); e <- sample(0:n, 1); q <- sample(c(0.01, 0.1, 0.5), 1)
  lines <- c(lines, paste("binomial", kind, e, n, digits(q), digits(binom.test(e, n, q, alternative = kind)$p.value), sep = "\t"))
}
writeLines(lines, file.path(folder, "exact.tsv"))
