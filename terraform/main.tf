# Tallyman's hub with Terraform: one CloudFormation stack from the packaged template that `make publish` uploaded to a
# bucket. Deliberately thin: the template defines all resources, and `parameters` are the template's.

terraform {
  required_version = ">= 1.5"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.0, < 7.0"
    }
  }
}

variable "template_url" {
  description = "The address of the packaged template that `make publish BUCKET=…` printed, https://BUCKET.s3.REGION.amazonaws.com/…"
  type        = string
  validation {
    condition     = can(regex("^https://[a-z0-9.-]+\\.s3[.-]", var.template_url))
    error_message = "Must be the address of a template in S3."
  }
}

variable "name" {
  description = "The stack's name; the names of its resources begin with it."
  type        = string
  default     = "tallyman"
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,29}$", var.name))
    error_message = "At most 30 lower-case letters, digits and hyphens, a letter first."
  }
}

variable "parameters" {
  description = "Parameters of the template, by name (docs/settings.md); omitted parameters keep their defaults."
  type        = map(string)
  default     = {}
}

variable "tags" {
  description = "Tags of the stack and of its resources."
  type        = map(string)
  default     = {}
}

resource "aws_cloudformation_stack" "tallyman" {
  name         = var.name
  template_url = var.template_url
  parameters   = var.parameters
  capabilities = ["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND"]
  on_failure   = "ROLLBACK"
  tags         = var.tags

  timeouts {
    create = "30m"
    update = "30m"
    delete = "30m"
  }
}

output "outputs" {
  description = "The outputs of the stack, by name."
  value       = aws_cloudformation_stack.tallyman.outputs
}

output "stack" {
  description = "The stack's name, for TALLYMAN_STACK."
  value       = aws_cloudformation_stack.tallyman.name
}
