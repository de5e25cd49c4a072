" Vim syntax file of the .vmoe language; written by `vmoec manual vim`.
if exists("b:current_syntax")
  finish
endif

syntax keyword vmoeDeclaration use config layer model train
syntax keyword vmoeStatement param for if loss aux metric in else
syntax keyword vmoeBoolean true false
syntax keyword vmoeOperatorWord and or not
syntax match vmoeStatement /\v^\s*<(state|update)>\ze\s+\h/
syntax match vmoeType /\v<(f32|i32|class)>\ze\s*\[/
syntax match vmoeCall /\v<\h\w*\ze\s*\(/
syntax match vmoeNumber /\v<\d+(\.\d+)?([eE][-+]?\d+)?>/
syntax match vmoeComment /#.*$/ contains=@Spell
syntax region vmoeString start=/"/ skip=/\\./ end=/"/ oneline
syntax match vmoeOperator /\v\|\>|-\>|\.\./
syntax match vmoeBuiltin /\v<%(exp|log|log1p|sqrt|rsqrt|tanh|erf|sigmoid|relu|gelu|silu|softplus|abs|square|maximum|minimum|softmax|layer_norm|rms_scale|mean|sum|moments|max|top_values|less|where|stop_gradient|in_training|reshape|broadcast|transpose|slice|concat|split|sincos_2d|matmul|project|normal_noise|uniform_noise|gumbel_noise|dropout|attention_core|patchify|convolve|convolve_depthwise|window_max|window|top_k|all_experts|expert_choice|priority_choice|capacity|uniform_route|follow_label|keep_pairs|weights|with_weights|dispatch|combine|sparse_gate|choices|first_choice|choice_counts|load_balance|cross_entropy|accuracy|one_hot|gather|lookup|dim|shape|size|len|contains|int|share|error|zeros|ones|constant|normal|trunc_normal|uniform|xavier|he|fashion_mnist|mnist|idx|cifar10|cifar100|image_folder|flip|adamw|adam|sgd|cosine|polynomial|f32|bf16|last|best|never|patience)>\ze\s*\(/

highlight default link vmoeDeclaration Structure
highlight default link vmoeStatement Statement
highlight default link vmoeBoolean Boolean
highlight default link vmoeOperatorWord Operator
highlight default link vmoeOperator Operator
highlight default link vmoeType Type
highlight default link vmoeCall Identifier
highlight default link vmoeBuiltin Function
highlight default link vmoeNumber Number
highlight default link vmoeComment Comment
highlight default link vmoeString String

let b:current_syntax = "vmoe"
