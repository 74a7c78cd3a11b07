"""AWS services other than ECR and DynamoDB."""
